// Cross-frame intensity (CFI): how much the frames of a video attend to each other at one self-attention layer.
//
// At every position of the frame, the rows of query and key that the T frames have there give a temporal attention map
// A = softmax(Q K^T / sqrt(d)), T x T, in float32. CFI is the mean of its off-diagonal elements.
//
// All take video tokens only, query and key [B, heads, T*S, d] as they lie in memory (any strides), frame-major: token
// t*S + s is position s of frame t. On the CPU, float32, bfloat16 and float16 with contiguous rows are read once, and
// nothing is copied; the result does not depend on the number of threads. Everything else goes through ATen in pieces
// of bounded size: on other devices few large ones, as views of query and key where heads lie side by side in memory.
// torch.autocast changes nothing. A single frame has no other to attend to: its CFI is 0.
#pragma once
#include <ATen/ATen.h>

namespace eav {

// Per batch row and head, the mean over positions: [B, heads] float32.
at::Tensor cfi_per_head(const at::Tensor& query, const at::Tensor& key, int64_t frames);

// Per batch row, the mean over heads and positions: [B] float32.
at::Tensor cfi(const at::Tensor& query, const at::Tensor& key, int64_t frames);

// The map itself, mean over positions, for pictures: [B, heads, T, T] float32.
at::Tensor attention_map(const at::Tensor& query, const at::Tensor& key, int64_t frames);

}  // namespace eav
