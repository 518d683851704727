// 3x3 convolutions of frames by Winograd's minimal filtering, F(2x2, 3x3): 16 multiplications for four results instead
// of 36, and nine where the input is enlarged. Plain pointers; it computes in float32. nn/conv.h is the interface for
// tensors.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/element.h"

namespace eav {

struct WinogradConv {
  int64_t in, out;        // channels
  int64_t taps;           // frames that a result sees: 3, or 1 for a convolution of pictures
  int64_t frames;         // T of the result
  int64_t height, width;  // of the result
  bool enlarge;           // the input has half its height and width; every position of it stands for two by two
  bool replicate;         // the input's border is continued outside of it; otherwise zeros lie there
  Element element = Element::float32;  // of input and result: that or bfloat16
  const void* const* input = nullptr;  // taps - 1 + T frames [H, W, in]
  const float* weight = nullptr;       // [out, in, taps, 3, 3]
  const float* bias = nullptr;         // [out], or null
  void* const* result = nullptr;       // T frames [H, W, out]
  bool add = false;                    // adds to what `result` holds instead of replacing it
  float* packed = nullptr;             // winograd_packed_size() elements, filled by winograd_pack()

  int64_t tiles() const { return ((height + 1) / 2) * ((width + 1) / 2); }  // of 2x2 results, in a frame
};

size_t winograd_packed_size(const WinogradConv& conv);

// Transforms the weights of output channels begin..end-1; all of them before the first convolution.
void winograd_pack(const WinogradConv& conv, int64_t begin, int64_t end);

// Computes the tiles begin..end-1 of every frame.
void winograd_convolve(const WinogradConv& conv, int64_t begin, int64_t end);

}  // namespace eav
