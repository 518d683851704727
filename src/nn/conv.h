// Convolutions over one video with channels last: frames [H, W, C], each with its positions' channels together.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <span>
#include <utility>

#include "weights/weights.h"

namespace eav {

// A convolution's weight [out, in, taps, k, k] or [out, in, k, k] as its device takes it without a copy: with channels
// last in memory off the CPU.
Tensor conv_weight(const Tensor& weight);

enum class Write { kReplace, kAdd };
// What lies around a frame: zeros, the position nearest to it, or zeros below and to the right alone.
enum class Border { kZero, kReplicate, kZeroAfter };

// A convolution of frames [H, W, in], as many as `out` has and before them one less than the weight has taps, to `out`
// [H, W, out]: weight [out, in, taps, k, k] with an odd k, bias [out]. Where `out` is twice as high and wide, every
// position of the frames stands for two by two, as if they had been enlarged.
void convolve(std::span<const Tensor> frames, const Tensor& weight, const std::optional<Tensor>& bias,
              std::span<const Tensor> out, Border border = Border::kZero, Write write = Write::kReplace);

// One frame of a convolution at every `stride`-th position down and to the right, of as many frames [H, W, in] as the
// weight has taps.
Tensor convolve_strided(std::span<const Tensor> frames, const Tensor& weight, const std::optional<Tensor>& bias,
                        Border border, int64_t stride);

// Frames to convolve in one call: enough work for it, and little memory beside the whole video.
int64_t frames_at_once(int64_t frames, int64_t positions);

// A convolution with a kernel of one element: a linear map of every position's channels. Its weight is stored as
// [out, in, 1, 1, 1], or [out, in, 1, 1] that of pictures.
struct PointwiseConv {
  Tensor weight;               // [out, in]
  std::optional<Tensor> bias;  // [out]

  PointwiseConv(const Weights& w, int64_t in, int64_t out)
      : weight(w.load("weight", {out, in, 1, 1, 1}).flatten(1)), bias(w.optional("bias", {out})) {}
  static PointwiseConv of_pictures(const Weights& w, int64_t in, int64_t out) {
    return {w.load("weight", {out, in, 1, 1}).flatten(1), w.optional("bias", {out})};
  }

  Tensor operator()(const Tensor& x) const;  // [..., in] -> [..., out]

 private:
  PointwiseConv(Tensor weight, std::optional<Tensor> bias) : weight(std::move(weight)), bias(std::move(bias)) {}
};

}  // namespace eav
