// The configuration of HunyuanVideo's transformer (diffusers' HunyuanVideoTransformer3DModel).
#pragma once
#include <cstdint>
#include <vector>

#include "weights/config.h"

namespace eav::hunyuan_video {

// How a model sees the image that its video sets out from: not at all; as channels beside the latents, with a mask of
// the frames that it shows; or in place of the first latent frame, whose tokens are modulated as at timestep 0.
enum class ImageCondition { none, latent_concat, token_replace };

struct TransformerConfig {
  int64_t num_attention_heads;
  int64_t attention_head_dim;  // channels of a head
  int64_t in_channels;         // latent channels, and those of an image that is concatenated
  int64_t out_channels;        // latent channels
  ImageCondition image_condition;
  int64_t num_layers;                  // dual-stream blocks
  int64_t num_single_layers;           // single-stream blocks, which follow them
  int64_t num_refiner_layers;          // blocks of the token refiner
  int64_t mlp_channels;                // hidden channels of a block's feed-forward layer
  int64_t patch_size;                  // latent pixels to a token, along height and width
  int64_t patch_size_t;                // latent frames to a token
  bool guidance_embeds;                // the guidance scale is an input of the model
  int64_t text_embed_dim;              // channels of the LLaMA's output
  int64_t pooled_projection_dim;       // channels of CLIP's pooled output
  double rope_theta;                   // of the rotary embedding
  std::vector<int64_t> rope_axes_dim;  // channels of a head that tell frame, row and column

  // Throws eav::Error that names the field for values that cannot work or that belong to another model.
  static TransformerConfig read(const JsonFile& config);

  int64_t channels() const { return num_attention_heads * attention_head_dim; }
  int64_t layers() const { return num_layers + num_single_layers; }
};

}  // namespace eav::hunyuan_video
