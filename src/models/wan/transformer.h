// Wan's diffusion transformer: self-attention among video tokens, cross-attention to the prompt and to pictures
// (diffusers' WanTransformer3DModel). Whatever type it computes in, norms, gates and the embedding of timesteps are
// float32.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "enhance/step.h"
#include "models/wan/config.h"
#include "nn/embeddings.h"
#include "nn/feed_forward.h"
#include "nn/linear.h"
#include "nn/modulation.h"
#include "nn/qk_norm.h"
#include "weights/blocks.h"

namespace eav::wan {

// Layer norm in float32; its result is rounded to the type of x.
struct Float32LayerNorm {
  std::optional<Tensor> weight, bias;  // [C] float32
  double eps;

  explicit Float32LayerNorm(double eps) : eps(eps) {}
  Float32LayerNorm(const Weights& w, int64_t channels, double eps)
      : weight(w.in(at::kFloat).load("weight", {channels})),
        bias(w.in(at::kFloat).load("bias", {channels})),
        eps(eps) {}

  Tensor operator()(const Tensor& x) const;
  // norm(x) * (1 + scale) + shift, each a row of the modulation; of a norm without weights.
  Tensor operator()(const Tensor& x, const Modulation& m, int64_t scale, int64_t shift) const;
};

struct SelfAttention {
  int64_t heads;
  Linear to_q, to_k, to_v, to_out;
  QkNormAcrossHeads norm_q, norm_k;
  SelfAttention(const Weights& w, const TransformerConfig& c);

  struct Output {
    Tensor tokens;  // [1, T*S, C], after the output projection
    Gain gain;
  };
  Output operator()(Tensor x, const Rope& rope, int64_t layer, Step& step) const;
};

// What video tokens look at beside each other.
struct Context {
  Tensor text;        // [1, 512, C]
  Tensor image = {};  // [1, image tokens, C]; undefined where the model sees none
};

struct CrossAttention {
  // Keys and values of pictures.
  struct Added {
    Linear k_proj, v_proj;
    QkNormAcrossHeads norm_k;
  };
  int64_t heads;
  Linear to_q, to_k, to_v, to_out;
  QkNormAcrossHeads norm_q, norm_k;
  std::optional<Added> added;
  CrossAttention(const Weights& w, const TransformerConfig& c);

  Tensor operator()(const Tensor& x, const Context& context) const;
};

struct TransformerBlock {
  int64_t layer;
  Float32LayerNorm norm1, norm3;
  std::optional<Float32LayerNorm> norm2;
  SelfAttention attn1;
  CrossAttention attn2;
  FeedForward ffn;
  Tensor scale_shift_table;  // [6, C], to which the timestep's are added
  TransformerBlock(const Weights& w, const TransformerConfig& c, int64_t layer);

  // What stays the same in all blocks of a step.
  struct Inputs {
    const Context& context;
    const Rope& rope;
    const Tensor& timestep_proj;  // [runs, 6, C] float32
    const std::vector<int64_t>& tokens;
  };
  // Adds the block's residuals to x [1, T*S, C] in place.
  void operator()(const Tensor& x, const Inputs& inputs, Step& step) const;
};

// Fits the tokens of pictures to the transformer.
struct ImageEmbedding {
  std::optional<Tensor> pos_embed;  // [1, tokens of two pictures, image_dim]
  Float32LayerNorm norm1;
  Linear in, out;
  Float32LayerNorm norm2;
  ImageEmbedding(const Weights& w, const TransformerConfig& c);
  Tensor operator()(const Tensor& pictures) const;
};

class Transformer {
 public:
  Transformer(const Weights& w, const TransformerConfig& c);

  // What stays the same over all steps of a video: of latents of `frames` x `height` x `width`, and of a prompt's
  // embeddings [1, 512, text_dim] with those of pictures [pictures, tokens, image_dim], undefined where there are none.
  Rope rope(int64_t frames, int64_t height, int64_t width, at::Device device) const;
  Context context(const Tensor& text, const Tensor& pictures) const;

  // Predicts the velocity: latents [1, in_channels, F, h, w] -> [1, out_channels, F, h, w].
  Tensor operator()(const Tensor& latents, const Timesteps& timesteps, const Context& context, const Rope& rope,
                    Step& step) const;

  // What checkpoints hold beside what is read.
  static std::vector<UnneededKey> unneeded_keys(const TransformerConfig& c);

 private:
  Tensor unpatchify(const Tensor& tokens, at::IntArrayRef shape) const;  // of the latents that were patchified

  TransformerConfig config_;
  Linear patch_embedding_;
  TimestepEmbedding time_embedder_;
  Linear time_proj_;
  Linear text_linear_1_, text_linear_2_;
  std::optional<ImageEmbedding> image_embedder_;
  Blocks<TransformerBlock> blocks_;
  Float32LayerNorm norm_out_;
  Tensor scale_shift_table_;  // [2, C]: shift, scale
  Linear proj_out_;
};

}  // namespace eav::wan
