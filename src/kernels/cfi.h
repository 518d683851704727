// The CFI kernel: plain pointers and strides in, sums out. enhance/cfi.h is the interface for tensors.
#pragma once
#include <cstdint>

#include "kernels/element.h"

namespace eav {

// Where the rows of a query or a key lie. Strides count elements; the elements of a row are contiguous.
struct Rows {
  const void* data;
  int64_t batch_stride, head_stride, frame_stride, position_stride;
};

struct CfiTask {
  Element element;
  Rows query, key;
  int64_t batch, heads, frames, positions, dim;
};

// A part of a task that one thread does at a time.
struct CfiBlock {
  int64_t batch;
  int64_t head_begin, head_end;
  int64_t position_begin, position_end;
};

// Adds, for each head of the block, the mass that softmax rows hold off their diagonal, summed over rows and positions.
void add_off_diagonal_mass(const CfiTask& task, const CfiBlock& block, double* mass_of_head);

// Adds the temporal attention maps of a block of one head, summed over positions, to map [frames, frames].
void add_attention_map(const CfiTask& task, const CfiBlock& block, double* map);

}  // namespace eav
