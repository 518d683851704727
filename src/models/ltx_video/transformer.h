// LTX-Video's diffusion transformer: self-attention among video tokens, cross-attention to the caption (diffusers'
// LTXVideoTransformer3DModel).
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "enhance/step.h"
#include "models/ltx_video/config.h"
#include "nn/embeddings.h"
#include "nn/feed_forward.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"
#include "nn/modulation.h"
#include "nn/qk_norm.h"
#include "weights/blocks.h"

namespace eav::ltx_video {

// The caption's tokens, padded.
struct Caption {
  Tensor tokens;  // [B, text_len, caption_channels]; [B, text_len, C] inside the transformer
  Tensor mask;    // [B, text_len] bool: false where they are padding
};

// Queries, keys and values; queries and keys are normed over all heads together.
struct Attention {
  int64_t heads;
  Linear to_q, to_k, to_v, to_out;
  QkNorm norm_q, norm_k;
  Attention(const Weights& w, const TransformerConfig& c);
};

struct SelfAttention : Attention {
  using Attention::Attention;
  struct Output {
    Tensor tokens;  // [B, L, C], after the output projection
    Gain gain;      // of the tokens of the video's grid
  };
  // The first `conditions` tokens are none of the video's grid.
  Output operator()(const Tensor& x, const Rope& rope, int64_t conditions, int64_t layer, Step& step) const;
};

struct CrossAttention : Attention {
  using Attention::Attention;
  Tensor operator()(const Tensor& x, const Caption& caption) const;
};

// A root mean square norm that is scaled and shifted: norm(x) * (1 + scale) + shift.
struct ModulatedNorm {
  std::optional<Tensor> weight;  // [C]; released models have none
  double eps;
  ModulatedNorm(const Weights& w, const TransformerConfig& c)
      : weight(w.optional("weight", {c.channels()})), eps(c.norm_eps) {}
  // scale and shift: rows of the modulation
  Tensor operator()(const Tensor& x, const Modulation& m, int64_t scale, int64_t shift) const;
};

struct TransformerBlock {
  int64_t layer;
  ModulatedNorm norm1, norm2;
  SelfAttention attn1;
  CrossAttention attn2;
  FeedForward ff;
  Tensor scale_shift_table;  // [6, C], to which the timestep's are added
  TransformerBlock(const Weights& w, const TransformerConfig& c, int64_t layer);

  // What stays the same in all blocks of a step.
  struct Inputs {
    const Caption& caption;
    const Rope& rope;
    int64_t conditions;  // tokens before the video's grid
    const Tensor& temb;  // [runs, 6, C]
    const std::vector<int64_t>& tokens;
  };
  // Adds the block's residuals to x [B, L, C] in place.
  void operator()(const Tensor& x, const Inputs& inputs, Step& step) const;
};

class Transformer {
 public:
  Transformer(const Weights& w, const TransformerConfig& c);

  // What stays the same over all steps of a video.
  struct Inputs {
    Caption caption;  // of a guidance pair, the prompt's last
    Rope rope;
    int64_t conditions;  // tokens that only condition, before those of the video's grid
    Inputs prompt_alone() const { return {{caption.tokens.slice(0, -1), caption.mask.slice(0, -1)}, rope, conditions}; }
  };
  // Positions of all tokens, [L, 3] float32: seconds, and pixels down and to the right.
  Inputs prepare(const Caption& caption, const Tensor& positions, int64_t conditions) const;

  // Predicts the velocity: packed latents [B, L, in_channels] -> the same shape.
  Tensor operator()(const Tensor& latents, const Timesteps& timesteps, const Inputs& inputs, Step& step) const;

 private:
  TransformerConfig config_;
  Linear proj_in_;
  TimestepEmbedding timestep_embedder_;
  Linear time_linear_;
  Linear caption_linear_1_, caption_linear_2_;
  Blocks<TransformerBlock> blocks_;
  Tensor scale_shift_table_;  // [2, C]
  LayerNorm norm_out_;
  Linear proj_out_;
};

}  // namespace eav::ltx_video
