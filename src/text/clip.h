// The text encoder of CLIP (Radford et al., arXiv 2103.00020): a causal transformer, of which one token's vector stands
// for the whole prompt. Its blocks are those of the vision tower (text/clip_vision.h) too.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <vector>

#include "eav/progress.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"
#include "text/token_embedding.h"
#include "weights/config.h"
#include "weights/matrix.h"
#include "weights/part.h"

namespace eav {

// What the blocks of text encoder and vision tower need to know.
struct ClipBlockConfig {
  int64_t channels;  // of a token: C
  int64_t heads;
  int64_t hidden;  // channels inside a feed-forward layer
  int64_t layers;
  double norm_eps;
  bool quick_gelu;  // x * sigmoid(1.702 x) in place of GELU
  bool causal;      // a token sees itself and those before it

  ClipBlockConfig(const JsonFile& json, bool causal);
};

struct ClipConfig : ClipBlockConfig {
  int64_t vocabulary;    // rows of the embedding
  int64_t positions;     // the most tokens that a prompt may have
  int64_t eos_token_id;  // of the token that stands for the prompt; 2 in older files, whatever the vocabulary

  explicit ClipConfig(const JsonFile& json);
};

struct ClipAttention {
  int64_t heads;
  bool causal;
  Linear q_proj, k_proj, v_proj, out_proj;
  ClipAttention(const Weights& w, const ClipBlockConfig& c);

  Tensor operator()(const Tensor& x) const;
};

struct ClipFeedForward {
  bool quick_gelu;
  Linear fc1, fc2;
  ClipFeedForward(const Weights& w, const ClipBlockConfig& c);

  Tensor operator()(const Tensor& x) const;
};

struct ClipBlock {
  LayerNorm layer_norm1, layer_norm2;
  ClipAttention self_attn;
  ClipFeedForward mlp;
  ClipBlock(const Weights& w, const ClipBlockConfig& c);

  Tensor operator()(Tensor x) const;
};

struct ClipTextEncoder {
  TokenEmbedding token_embedding;
  Matrix position_embedding;  // [positions, C]
  std::vector<ClipBlock> blocks;
  LayerNorm final_layer_norm;
  int64_t eos_token_id;
  ClipTextEncoder(const Weights& w, const ClipConfig& c);

  static Part<ClipTextEncoder> part(const PartSource& source);
  // What CLIP checkpoints hold besides what the pooled output needs.
  static std::vector<UnneededKey> unneeded_keys();

  // The pooled output: ids [B, L] -> [B, C] in the type `compute`, from the first token with `eos_token_id`. Padding
  // comes after it, so that it changes nothing. Throws eav::Error when a prompt is too long or an id is outside the
  // vocabulary.
  Tensor operator()(const Tensor& ids, at::ScalarType compute, const Progress& progress) const;
};

}  // namespace eav
