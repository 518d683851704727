// Attention in bfloat16 on the CPU, without a matrix of scores: plain pointers. nn/attention.h is the interface for
// tensors.
#pragma once
#include <c10/util/BFloat16.h>

#include <cstdint>

namespace eav {

// Of [batch, heads, tokens, head_size], whose last axis is dense: elements from one item to the next.
struct HeadStrides {
  int64_t batch, head, token;
};

// out = softmax(q k^T * scale) v; scores and sums are float32.
struct AttentionTask {
  int64_t batch, heads, queries, keys, head_size;
  int64_t sharing;  // neighbouring heads of queries that share a head of keys and values
  float scale;      // above 0
  const c10::BFloat16 *q, *k, *v;
  c10::BFloat16* out;
  HeadStrides q_strides, k_strides, v_strides, out_strides;
};

// Whether this CPU has the products that the kernel stands on; tried once.
bool attention_kernel_works();
// Whether it can take heads of this size.
inline bool attention_kernel_takes(int64_t head_size) { return head_size % 2 == 0 && head_size <= 256; }

// Only where attention_kernel_works().
void attention(const AttentionTask& task);

}  // namespace eav
