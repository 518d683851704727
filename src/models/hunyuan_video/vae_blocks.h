// The layers that both halves of HunyuanVideo's autoencoder have. Around the video lies what is on its border, in space
// and before its beginning.
#pragma once
#include "models/hunyuan_video/vae_config.h"
#include "vae/attention.h"
#include "vae/conv.h"
#include "vae/resnet.h"
#include "vae/tiling.h"
#include "weights/weights.h"

namespace eav::hunyuan_video {

using Resnet = ResnetBlock<GroupNormSilu>;

// The tiles of latents, where a picture is decoded in tiles.
TileGrid tile_grid(const VaeConfig& c);

Conv3d causal_conv(const Weights& w, int64_t in, int64_t out);
NormedConv<GroupNormSilu> normed_conv(const Weights& norm, const Weights& conv, int64_t in, int64_t out,
                                      const VaeConfig& c);
std::vector<Resnet> resnet_blocks(const Weights& w, int64_t count, int64_t in, int64_t out, const VaeConfig& c);
MidBlock mid_block(const Weights& w, const VaeConfig& c);

}  // namespace eav::hunyuan_video
