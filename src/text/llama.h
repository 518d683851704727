// LLaMA (Touvron et al., arXiv 2302.13971; LLaMA 3, arXiv 2407.21783) as a text encoder: what one of its layers makes
// of a prompt.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eav/progress.h"
#include "nn/linear.h"
#include "nn/rms_norm.h"
#include "text/token_embedding.h"
#include "weights/blocks.h"
#include "weights/config.h"
#include "weights/part.h"
#include "weights/weights.h"

namespace eav {

struct LlamaConfig {
  // LLaMA 3.1 slows the waves of the rotary embedding that turn seldom within the texts of the first training.
  struct RopeScaling {
    double factor;           // waves that turn less than `low_freq_factor` times are slowed by it
    double low_freq_factor;  // in turns; between the two it is blended in
    double high_freq_factor;
    int64_t trained_positions;  // length of those texts, in tokens
  };

  int64_t channels;  // of a token: C
  int64_t heads;
  int64_t kv_heads;  // heads of keys and values; each serves heads / kv_heads neighbouring heads of queries
  int64_t head_dim;  // d; heads * d need not be C
  int64_t hidden;    // channels inside a feed-forward layer
  int64_t layers;
  int64_t vocabulary;  // rows of the embedding
  double norm_eps;
  double rope_theta;
  std::optional<RopeScaling> rope_scaling;

  explicit LlamaConfig(const JsonFile& json);
};

// The rotary embedding of the tokens 0..L-1. Channels i and d/2 + i of a head form a pair.
struct LlamaRope {
  Tensor cos, sin;  // [L, d/2]

  Tensor operator()(const Tensor& x) const;  // x [B, heads, L, d]
};

struct LlamaAttention {
  int64_t heads, kv_heads;
  Linear q_proj, k_proj, v_proj, o_proj;
  LlamaAttention(const Weights& w, const LlamaConfig& c);

  Tensor operator()(const Tensor& x, const LlamaRope& rope) const;
};

struct LlamaFeedForward {
  Linear gate_proj, up_proj, down_proj;
  LlamaFeedForward(const Weights& w, const LlamaConfig& c);

  Tensor operator()(const Tensor& x) const;
};

struct LlamaBlock {
  RmsNorm input_layernorm, post_attention_layernorm;
  LlamaAttention self_attn;
  LlamaFeedForward mlp;
  LlamaBlock(const Weights& w, const LlamaConfig& c);

  Tensor operator()(Tensor x, const LlamaRope& rope) const;
};

struct LlamaEncoder {
  Tensor frequencies;  // [d/2] of the rotary embedding, in radians a token
  TokenEmbedding embed_tokens;
  Blocks<LlamaBlock> blocks;
  std::optional<RmsNorm> norm;  // only behind the last layer
  LlamaEncoder(const Weights& w, const LlamaConfig& c, int64_t skipped_layers);

  // The last `skipped_layers` are never read. Throws eav::Error where the configuration does not serve.
  static Part<LlamaEncoder> part(const PartSource& source, int64_t skipped_layers);
  // What LLaMA checkpoints hold besides the layers that are read, in files of either spelling.
  static std::vector<UnneededKey> unneeded_keys(const LlamaConfig& c, int64_t skipped_layers);
  // Those unneeded keys of a LLaMA below `prefix`.
  static std::vector<UnneededKey> unneeded_keys(const LlamaConfig& c, int64_t skipped_layers,
                                                const std::string& prefix);

  // ids [B, L] -> [B, L, C] in the type `compute`: transformers' hidden_states[-(skipped_layers + 1)]. A token sees
  // those before it alone, so padding behind a prompt is best left out. Throws eav::Error when an id is outside the
  // vocabulary.
  Tensor operator()(const Tensor& ids, at::ScalarType compute, const Progress& progress) const;
  // What the operator above gives, for tokens that are embedded already, x [B, L, C].
  Tensor operator()(Tensor x, const Progress& progress) const;
};

}  // namespace eav
