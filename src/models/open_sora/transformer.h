// Open-Sora's diffusion transformer, STDiT3: attention within frames and attention along time take turns.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "enhance/step.h"
#include "models/open_sora/config.h"
#include "nn/embeddings.h"
#include "nn/feed_forward.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"
#include "nn/qk_norm.h"
#include "weights/blocks.h"

namespace eav::open_sora {

enum class Axis { space, time };  // along which a block's tokens attend to each other

// A caption of each video without its padding: [tokens, channels] each.
using Captions = std::vector<Tensor>;

// Self-attention of each frame's tokens, or of each position's tokens over time.
struct Attention {
  Axis axis;
  int64_t heads;
  Linear q, k, v, proj;
  std::optional<QkNorm> q_norm, k_norm;
  Attention(const Weights& w, const TransformerConfig& c, Axis axis);

  struct Output {
    Tensor tokens;  // [B, T, S, C], after the output projection
    Gain gain;
  };
  // x [B, T, S, C]; `rope` turns tokens by their frame
  Output operator()(const Tensor& x, const Rope& rope, int64_t layer, Step& step) const;
};

struct CrossAttention {
  int64_t heads;
  Linear q_linear, k, v, proj;
  CrossAttention(const Weights& w, const TransformerConfig& c);

  Tensor operator()(const Tensor& x, const Captions& captions) const;  // [B, T, S, C] -> the same
};

struct Block {
  int64_t layer;  // among the blocks of its axis
  Attention attn;
  CrossAttention cross_attn;
  FeedForward mlp;
  Tensor scale_shift_table;  // [6, C], to which the timestep's are added
  Block(const Weights& w, const TransformerConfig& c, Axis axis, int64_t layer);

  // What stays the same in all blocks of a step.
  struct Inputs {
    const Captions& captions;
    const Rope& rope;
    const Tensor& timesteps;  // [B, T or 1, 6, C]
  };
  // Adds the block's residuals to x [B, T, S, C] in place.
  void operator()(const Tensor& x, const Inputs& inputs, Step& step) const;
};

class Transformer {
 public:
  Transformer(const Weights& w, const TransformerConfig& c);

  // What the model is told about a video beside its caption.
  struct Video {
    double fps;
    int64_t height, width;  // in pixels
  };
  // What stays the same in all steps.
  struct Inputs {
    Captions captions;  // embedded; of a guidance pair, the prompt's first
    double fps;
    Tensor positions;  // [S, C]
    Inputs prompt_alone() const { return {{captions[0]}, fps, positions}; }
  };
  // For captions [tokens, caption_channels] each and latents of this height and width.
  Inputs prepare(const Captions& captions, const Video& video, int64_t height, int64_t width) const;
  // The caption of the unconditional half: [model_max_length, caption_channels].
  const Tensor& null_caption() const { return y_embedding_; }

  // The tokens of latents of this size.
  Grid grid(int64_t frames, int64_t height, int64_t width) const { return config_.grid(frames, height, width); }

  // latents [B, in_channels, T, H, W], timesteps [B] float32, a caption for each -> [B, out_channels, T, H, W] float32.
  // `frame_mask` [B, T] bool: frames that are not marked are given, at timestep 0.
  Tensor operator()(const Tensor& latents, const Tensor& timesteps, const Inputs& inputs,
                    const std::optional<Tensor>& frame_mask, Step& step) const;

 private:
  Tensor positions(const Video& video, int64_t rows, int64_t columns) const;  // [rows * columns, C] float32

  TransformerConfig config_;
  Linear x_embedder_;
  TimestepEmbedding t_embedder_, fps_embedder_;
  Linear t_block_;
  Linear y_fc1_, y_fc2_;
  Tensor y_embedding_;
  Tensor frequencies_;  // [d / 2] of the rotary embedding
  Blocks<Block> spatial_blocks_, temporal_blocks_;
  Tensor scale_shift_table_;  // [2, C]
  Linear final_linear_;
};

}  // namespace eav::open_sora
