// CogVideoX's diffusion transformer: joint attention over caption and video tokens (diffusers'
// CogVideoXTransformer3DModel).
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "enhance/step.h"
#include "models/cogvideox/config.h"
#include "nn/embeddings.h"
#include "nn/feed_forward.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"
#include "nn/rope.h"
#include "weights/blocks.h"
#include "weights/matrix.h"

namespace eav::cogvideox {

// Caption and video tokens in one tensor, caption first.
struct Tokens {
  Tensor all;  // [B, text_len + T*S, C]
  int64_t text_len;
  Tensor text() const { return all.slice(1, 0, text_len); }
  Tensor video() const { return all.slice(1, text_len); }
};

// What one layer's modulation does to one of the two streams; each [C].
struct Modulation {
  Tensor shift, scale, gate;
};

// Scales and shifts both streams by the timestep, and hands out the gates of their residuals.
struct AdaLayerNormZero {
  Linear linear;
  LayerNorm norm;
  AdaLayerNormZero(const Weights& w, const TransformerConfig& c)
      : linear((w / "linear").quantised(Weights::Rounding::weights), c.time_embed_dim, 6 * c.channels()),
        norm(w / "norm", c.channels(), c.norm_eps) {}

  struct Output {
    Tensor tokens;  // [B, L, C]
    Tensor text_gate, video_gate;
  };
  Output operator()(const Tokens& x, const Tensor& temb) const;
};

// Attention over all tokens, after norm and rotary embedding of queries and keys.
struct Attention {
  int64_t heads;
  Linear to_q, to_k, to_v, to_out;
  LayerNorm norm_q, norm_k;
  Attention(const Weights& w, const TransformerConfig& c);

  struct Output {
    Tensor tokens;  // [B, L, C], after the output projection
    Gain gain;      // of the video tokens
  };
  Output operator()(const Tensor& tokens, int64_t text_len, const std::optional<Rope>& rope, int64_t layer,
                    Step& step) const;
};

struct Block {
  int64_t layer;
  AdaLayerNormZero norm1, norm2;
  Attention attn;
  FeedForward ff;
  Block(const Weights& w, const TransformerConfig& c, int64_t layer)
      : layer(layer),
        norm1(w / "norm1", c),
        norm2(w / "norm2", c),
        attn(w / "attn1", c),
        ff(w / "ff", c.channels(), 4 * c.channels(), c.activation) {}
  // Adds the block's residuals to x in place.
  void operator()(Tokens& x, const Tensor& temb, const std::optional<Rope>& rope, Step& step) const;
};

// Cuts latents into patches and projects them, or puts patches together again.
struct PatchEmbed {
  Matrix proj;                 // [C, in*p*p]; with patch_size_t [C, p_t*p*p*in]
  std::optional<Tensor> bias;  // [C]
  Linear text_proj;
  std::optional<Tensor> learned;  // [T*S, C] for the trained size
  PatchEmbed(const Weights& w, const TransformerConfig& c);
  Tensor operator()(const Tensor& latents, const TransformerConfig& c) const;  // [B, F, C, h, w] -> [B, T*S, C]
};

class Transformer {
 public:
  Transformer(const Weights& w, const TransformerConfig& c);
  // Keys that some checkpoints have and nothing reads.
  static std::vector<UnneededKey> unneeded_keys();

  // What stays the same over all steps of a video.
  struct Inputs {
    Tensor text;       // [B, text_len, C]; of a guidance pair, the prompt's last
    Tensor positions;  // [T*S, C]; undefined where a rotary embedding alone tells positions
    std::optional<Rope> rope;
    Grid grid;
    Inputs prompt_alone() const { return {text.slice(0, -1), positions, rope, grid}; }
  };
  // `text_embeds` [B, text_len, text_embed_dim]; latents of `frames` x `height` x `width`, which config() can serve.
  Inputs prepare(const Tensor& text_embeds, int64_t frames, int64_t height, int64_t width) const;

  // Predicts the noise or velocity: latents [B, F, C, h, w] at one timestep -> the same shape.
  Tensor operator()(const Tensor& latents, int64_t timestep, const Inputs& inputs, Step& step) const;

  const TransformerConfig& config() const { return config_; }

 private:
  Tensor unpatchify(const Tensor& tokens, at::IntArrayRef shape) const;

  TransformerConfig config_;
  PatchEmbed patch_embed_;
  TimestepEmbedding time_embedding_;
  Blocks<Block> blocks_;
  LayerNorm norm_final_;
  Linear norm_out_linear_;
  LayerNorm norm_out_;
  Linear proj_out_;
};

}  // namespace eav::cogvideox
