// The configuration of LTX-Video's transformer (diffusers' LTXVideoTransformer3DModel).
#pragma once
#include <cstdint>

#include "weights/config.h"

namespace eav::ltx_video {

struct TransformerConfig {
  int64_t num_attention_heads;
  int64_t attention_head_dim;   // channels of a head
  int64_t in_channels;          // latent channels
  int64_t num_layers;           // transformer blocks
  int64_t cross_attention_dim;  // channels of a caption's token in the blocks: those of a video token
  int64_t caption_channels;     // channels of the text encoder's output
  double norm_eps;              // of the blocks' norms

  // Throws eav::Error that names the field for values that cannot work or that belong to another model.
  static TransformerConfig read(const JsonFile& config);

  int64_t channels() const { return num_attention_heads * attention_head_dim; }
};

}  // namespace eav::ltx_video
