// The encoder of Wan's autoencoders (diffusers' AutoencoderKLWan): pictures and videos to set out from.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "eav/progress.h"
#include "models/wan/vae_blocks.h"
#include "models/wan/vae_config.h"
#include "nn/conv.h"
#include "vae/resample.h"
#include "weights/weights.h"

namespace eav::wan {

// Convolves every frame at every second position down and to the right; after that, with a convolution in time, makes
// one frame of two, except of the video's first.
struct HalvingConv {
  Downsample space;
  std::optional<TimeConv> time_conv;
  HalvingConv(const Weights& w, int64_t channels, bool halves_time);

  Frames operator()(Frames x, Pass& pass) const;
};

struct DownBlock {
  std::vector<Resnet> resnets;
  std::optional<HalvingConv> downsample;
  bool is_residual;  // the block's input, with neighbours averaged in time, space and channels, is added to its output

  Frames operator()(Frames x, Pass& pass) const;
};

class VaeEncoder {
 public:
  // Takes the encoder's weights; unneeded_keys() are the decoder's.
  VaeEncoder(const Weights& w, const VaeConfig& c);

  // video [1, 3, F, H, W] in -1..1, of 4k + 1 frames -> the mode of its latents [1, C, k + 1, h, w] as the transformer
  // works with them. With `tiling`, a large picture is encoded in overlapping tiles, which are blended.
  Tensor encode(const Tensor& video, bool tiling, Progress& progress) const;

  // Keys of the checkpoint that encoding does not need.
  static std::vector<UnneededKey> unneeded_keys();

 private:
  // Patches of a video [F, H, W, patch_channels] -> [f, h, w, 2C].
  Tensor moments(const Tensor& patches, const std::function<void(int64_t frames)>& encoded,
                 const Progress& progress) const;

  VaeConfig config_;
  Conv3d conv_in_;
  std::vector<DownBlock> down_;
  MidBlock mid_;
  NormedConv<ScaledRmsSilu> conv_out_;
  PointwiseConv quant_conv_;
};

}  // namespace eav::wan
