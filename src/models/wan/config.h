// The configuration of Wan's transformer (diffusers' WanTransformer3DModel).
#pragma once
#include <cstdint>
#include <optional>

#include "nn/patches.h"
#include "weights/config.h"

namespace eav::wan {

inline constexpr int64_t kTextTokens = 512;  // of a prompt, filled up with zeros

struct TransformerConfig {
  PatchSize patch_size;  // latent frames, rows and columns to a token
  int64_t num_attention_heads;
  int64_t attention_head_dim;  // channels of a head
  int64_t in_channels;         // latent channels, and those of what is concatenated
  int64_t out_channels;        // latent channels
  int64_t text_dim;            // channels of the text encoder's output
  int64_t freq_dim;            // sinusoids of a timestep
  int64_t ffn_dim;             // hidden channels of a block's feed-forward layer
  int64_t num_layers;          // transformer blocks
  bool cross_attn_norm;        // a norm stands before the cross-attention
  double eps;                  // of the blocks' norms
  int64_t rope_max_seq_len;    // the most positions along an axis

  // Of models that see pictures as tokens: channels of the image encoder's output, and the tokens of two pictures,
  // where their positions are embedded.
  std::optional<int64_t> image_dim, pos_embed_seq_len;

  // Throws eav::Error that names the field for values that cannot work or that belong to another model.
  static TransformerConfig read(const JsonFile& config);

  int64_t channels() const { return num_attention_heads * attention_head_dim; }
};

}  // namespace eav::wan
