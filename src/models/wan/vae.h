// The causal 3D variational autoencoders of Wan (diffusers' AutoencoderKLWan): their decoder.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "eav/progress.h"
#include "models/wan/vae_blocks.h"
#include "models/wan/vae_config.h"
#include "nn/conv.h"
#include "weights/weights.h"

namespace eav::wan {

// Doubles height and width to the nearest, then convolves every frame; before that, with a convolution in time, makes
// two frames of each but the video's first.
struct Upsample {
  Conv3d conv;  // of one frame
  std::optional<TimeConv> time_conv;
  Upsample(const Weights& w, int64_t in, int64_t out, bool doubles_time);

  Frames operator()(Frames x, Pass& pass) const;
};

struct UpBlock {
  std::vector<Resnet> resnets;
  std::optional<Upsample> upsample;
  bool is_residual;  // the block's input, enlarged to the nearest and its channels repeated, is added to its output
  UpBlock(const Weights& w, int64_t level, int64_t in, int64_t out, const VaeConfig& c);

  Frames operator()(Frames x, Pass& pass) const;
};

struct Decoder {
  Conv3d conv_in;
  MidBlock mid;
  std::vector<UpBlock> up;
  NormedConv<ScaledRmsSilu> conv_out;
  Decoder(const Weights& w, const VaeConfig& c);

  // z [F, h, w, Cz] -> [T, H, W, patch_channels]. `decoded` is told of so many frames whenever there are more.
  Tensor operator()(const Tensor& z, const VaeConfig& c, const Progress& progress,
                    const std::function<void(int64_t frames)>& decoded) const;
};

class Vae {
 public:
  // Takes the decoder's weights; unneeded_keys() are the encoder's.
  Vae(const Weights& w, const VaeConfig& c);

  // latents [B, C, F, h, w] as the transformer works with them -> video [B, 3, frames, H, W] in -1..1, decoded a few
  // frames at a time. With `tiling`, a picture larger than a tile is decoded in overlapping tiles, which are blended:
  // it takes less memory, and the result differs a little.
  Tensor decode(const Tensor& latents, bool tiling, Progress& progress) const;

  // Keys of the checkpoint that decoding does not need.
  static std::vector<UnneededKey> unneeded_keys();

 private:
  VaeConfig config_;
  PointwiseConv post_quant_conv_;
  Decoder decoder_;
};

}  // namespace eav::wan
