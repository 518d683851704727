// The configuration of CogVideoX's transformer (diffusers' CogVideoXTransformer3DModel).
#pragma once
#include <cstdint>
#include <optional>

#include "nn/feed_forward.h"
#include "weights/config.h"

namespace eav::cogvideox {

struct TransformerConfig {
  int64_t num_attention_heads;
  int64_t attention_head_dim;   // channels of a head
  int64_t in_channels;          // latent channels
  int64_t num_layers;           // transformer blocks
  int64_t time_embed_dim;       // channels of the timestep's embedding
  int64_t text_embed_dim;       // channels of the text encoder's output
  int64_t max_text_seq_length;  // caption length in tokens
  int64_t sample_width;         // the size that it was trained for, in latent pixels
  int64_t sample_height;
  int64_t sample_frames;                // in video frames
  int64_t patch_size;                   // latent pixels to a token, along height and width
  std::optional<int64_t> patch_size_t;  // latent frames to a token (CogVideoX 1.5)
  int64_t temporal_compression_ratio;   // video frames to a latent frame
  bool flip_sin_to_cos;                 // order of the timestep's sinusoids
  double freq_shift;
  double norm_eps;
  double spatial_interpolation_scale;  // of sine-cosine positions
  double temporal_interpolation_scale;
  bool rotary_positions;   // 5B, 1.5; else sine-cosine (2B)
  bool learned_positions;  // a learned table beside the rotary embedding
  Activation activation;   // of the feed-forward layers

  // Throws eav::Error that names the field for values that cannot work or that belong to another model.
  static TransformerConfig read(const JsonFile& config);

  int64_t channels() const { return num_attention_heads * attention_head_dim; }
  // T for this many latent frames, which patch_size_t must divide.
  int64_t token_frames(int64_t latent_frames) const { return latent_frames / patch_size_t.value_or(1); }
};

}  // namespace eav::cogvideox
