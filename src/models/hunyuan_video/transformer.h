// HunyuanVideo's diffusion transformer: dual-stream blocks, in which video and caption have weights of their own, then
// single-stream blocks, in which they share them (diffusers' HunyuanVideoTransformer3DModel).
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "enhance/step.h"
#include "models/hunyuan_video/config.h"
#include "nn/embeddings.h"
#include "nn/feed_forward.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"
#include "nn/qk_norm.h"
#include "weights/blocks.h"

namespace eav::hunyuan_video {

// Every function here computes one branch of one video: B is 1. A caption holds real tokens alone; the reference pads
// it and masks the padding, which comes to the same.

// Video and caption tokens in one tensor, video first.
struct Tokens {
  Tensor all;  // [1, T*S + text_len, C]
  int64_t video_len;
  Tensor video() const { return all.slice(1, 0, video_len); }
  Tensor text() const { return all.slice(1, video_len); }
};

// ---- the caption ----------------------------------------------------------------------------------------------------

// A block of the token refiner: attention and feed-forward among caption tokens, with gates from the timestep.
struct RefinerBlock {
  int64_t heads;
  LayerNorm norm1, norm2;
  Linear to_q, to_k, to_v, to_out;
  FeedForward ff;
  Linear gates;
  RefinerBlock(const Weights& w, const TransformerConfig& c);
  Tensor operator()(const Tensor& x, const Tensor& temb) const;
};

// Timestep and pooled caption, and guidance where it is given, as one vector [1, C].
struct TimeTextEmbedding {
  TimestepEmbedding timestep_embedder, text_embedder;
  std::optional<TimestepEmbedding> guidance_embedder;
  TimeTextEmbedding(const Weights& w, const TransformerConfig& c, int64_t text_channels, bool guidance);
  Tensor operator()(const Tensor& timestep, const Tensor& pooled, const Tensor& guidance = {}) const;
};

// Fits the LLaMA's embeddings to the transformer.
struct TokenRefiner {
  TimeTextEmbedding time_text_embed;
  Linear proj_in;
  std::vector<RefinerBlock> blocks;
  TokenRefiner(const Weights& w, const TransformerConfig& c);
  Tensor operator()(const Tensor& text, const Tensor& timestep) const;  // [1, text_len, text_embed_dim] -> [1, ., C]
};

// ---- the blocks -----------------------------------------------------------------------------------------------------

// Vectors [1, C] that modulate tokens: that of the timestep, and where the first frame is an image, that of timestep 0
// for its tokens.
struct Modulators {
  Tensor temb;
  Tensor first_temb = {};  // undefined: there is none
  int64_t first_tokens = 0;
};

// What the timestep does to a norm and to the residual behind it; each [C].
struct Modulation {
  Tensor shift, scale, gate;
};

// Modulations of a stream of tokens [1, L, C], of which the first `first_tokens` have a modulation of their own.
struct TokenModulation {
  Modulation others;
  Modulation first = {};
  int64_t first_tokens = 0;

  // The modulated norm of x.
  Tensor norm(const LayerNorm& norm, const Tensor& x) const;
  // x += y * gate * gain in place; x and y are the tokens from `begin` on.
  void add(const Tensor& x, const Tensor& y, const Gain& gain = {}, int64_t begin = 0) const;
};

// Modulations of one stream, as many as `n`, from the timestep.
struct AdaLayerNorm {
  Linear linear;
  int64_t n;
  AdaLayerNorm(const Weights& w, const TransformerConfig& c, int64_t n)
      : linear((w / "linear").quantised(Weights::Rounding::weights), c.channels(), 3 * n * c.channels()), n(n) {}
  std::vector<TokenModulation> operator()(const Modulators& modulators) const;

 private:
  std::vector<Modulation> modulations(const Tensor& temb) const;
};

// Projections of one stream to queries, keys and values.
struct Projections {
  Linear q, k, v;
  QkNorm norm_q, norm_k;
};

struct DualStreamBlock {
  int64_t layer, heads;
  AdaLayerNorm norm1, norm1_context;
  LayerNorm norm;  // of all four places; it has no weights
  Projections video, text;
  Linear to_out, to_add_out;
  FeedForward ff, ff_context;
  DualStreamBlock(const Weights& w, const TransformerConfig& c, int64_t layer);
  // Adds the block's residuals to x in place.
  void operator()(Tokens& x, const Modulators& modulators, const Rope& rope, Step& step) const;
};

struct SingleStreamBlock {
  int64_t layer, heads;
  AdaLayerNorm modulation;
  LayerNorm norm;  // it has no weights
  Projections projections;
  Linear proj_mlp, proj_out;
  SingleStreamBlock(const Weights& w, const TransformerConfig& c, int64_t layer);
  void operator()(Tokens& x, const Modulators& modulators, const Rope& rope, Step& step) const;
};

// ---- the model ------------------------------------------------------------------------------------------------------

class Transformer {
 public:
  Transformer(const Weights& w, const TransformerConfig& c);

  // A prompt, as the text encoders give it.
  struct Caption {
    Tensor text;    // [1, text_len, text_embed_dim]
    Tensor pooled;  // [1, pooled_projection_dim]
  };

  // What stays the same over all steps of a video: latents of `frames` x `height` x `width`.
  struct Inputs {
    Rope rope;
    Grid grid;
  };
  Inputs prepare(int64_t frames, int64_t height, int64_t width, at::Device device) const;

  // Predicts the velocity: latents [1, in_channels, F, h, w] at one timestep ([1] float32) -> [1, out_channels, F, h,
  // w]. `guidance` is the embedded guidance scale.
  Tensor operator()(const Tensor& latents, const Tensor& timestep, double guidance, const Caption& caption,
                    const Inputs& inputs, Step& step) const;

 private:
  Tensor unpatchify(const Tensor& tokens, at::IntArrayRef shape) const;  // of the latents that were patchified

  TransformerConfig config_;
  Linear x_embedder_;  // of patches
  TimeTextEmbedding time_text_embed_;
  TokenRefiner context_embedder_;
  Blocks<DualStreamBlock> dual_;
  Blocks<SingleStreamBlock> single_;
  Linear norm_out_linear_;
  LayerNorm norm_out_;
  Linear proj_out_;
};

}  // namespace eav::hunyuan_video
