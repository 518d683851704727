#include "nn/group_norm.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>

#include "base/meta_memory.h"
#include "kernels/group_norm.h"

namespace eav {
namespace {

// Variance and mean of x over dimensions `dims`, in float32.
std::pair<Tensor, Tensor> moments_over(const Tensor& x, at::IntArrayRef dims) {
  if (x.scalar_type() == at::kFloat || is_for_cpu(x)) {
    const auto [variance, mean] = at::var_mean(x.to(at::kFloat), dims, 0);
    return {variance, mean};
  }
  // Sums that convert as they read: a copy of a frame in float32 would take twice its memory.
  int64_t count = 1;
  for (const auto dim : dims) count *= x.size(dim);
  const auto mean = at::sum(x, dims, /*keepdim=*/false, at::kFloat) / count;
  const auto square = at::linalg_vector_norm(x, 2, dims, /*keepdim=*/false, at::kFloat).square() / count;
  return {(square - mean.square()).clamp_min(0), mean};
}

// Variance and mean [groups] of equally many positions of each frame [..., C].
std::pair<Tensor, Tensor> moments(std::span<const Tensor> frames, int64_t groups) {
  const auto count = static_cast<int64_t>(frames.size());
  if (!std::ranges::all_of(frames, kernels_take)) {
    std::vector<Tensor> variances, means;  // [groups] each
    for (const auto& x : frames) {
      const auto [variance, mean] = moments_over(x.flatten(0, -2).unflatten(-1, {groups, -1}), {0, 2});
      variances.push_back(variance);
      means.push_back(mean);
    }
    const auto [between, mean] = at::var_mean(at::stack(means), at::IntArrayRef{0}, 0);
    return {at::stack(variances).mean(0) + between, mean};
  }
  constexpr int64_t kChunk = 4096;  // positions; sums of chunks are added in a fixed order, whatever the threads
  const auto channels = frames[0].size(-1), positions = frames[0].numel() / channels;
  const auto chunks = (positions + kChunk - 1) / kChunk;                    // of a frame
  const auto sums = at::zeros({2, count * chunks, channels}, at::kDouble);  // of x - origin, and of its squares
  const auto sum = sums[0], square_sum = sums[1];
  // The origin is the first position: near the data, so that squares lose no digits to the mean.
  const auto element = *element_of(frames[0].scalar_type());
  const auto* origin = frames[0].const_data_ptr();
  auto *to = sum.mutable_data_ptr<double>(), *square_to = square_sum.mutable_data_ptr<double>();
  at::parallel_for(0, count * chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto first = i % chunks * kChunk;
      add_moments(frames[i / chunks].const_data_ptr(), origin, element, channels, first,
                  std::min(first + kChunk, positions), to + i * channels, square_to + i * channels);
    }
  });
  // [2, C]: E[x - origin], E[(x - origin)^2]
  const auto from_origin = sums.sum(1).div_(static_cast<double>(count * positions));
  const auto channel_mean = from_origin[0] + frames[0].view({-1, channels})[0];
  const auto channel_variance = from_origin[1] - from_origin[0].square();
  const auto mean = channel_mean.view({groups, -1}).mean(1);
  const auto between = (channel_mean.view({groups, -1}) - mean.unsqueeze(1)).square_().mean(1);
  return {(channel_variance.view({groups, -1}).mean(1) + between).to(at::kFloat), mean.to(at::kFloat)};
}

}  // namespace

std::pair<Tensor, Tensor> GroupNorm::operator()(std::span<const Tensor> frames) const {
  if (weight.is_meta()) {
    const auto scale = at::empty_like(weight, at::kFloat);
    return {scale, at::empty_like(scale)};
  }
  const auto [variance, mean] = moments(frames, groups);
  const auto of_channels = [&](const Tensor& group) { return group.repeat_interleave(weight.size(0) / groups); };
  const auto scale = weight.to(at::kFloat) * of_channels(at::rsqrt(variance + eps));  // [C]
  return {scale, at::addcmul(bias.to(at::kFloat), scale, of_channels(mean), -1)};
}

void modulate_silu(const Tensor& x, const Tensor& scale, const Tensor& shift, const Tensor& out) {
  const auto h = scale.size(0), w = scale.size(1);
  if (x.is_meta() && is_for_cpu(x)) return;  // the kernel needs no memory
  const auto is_float = [](const Tensor& t) { return t.scalar_type() == at::kFloat; };
  if (std::ranges::all_of(std::array{x, out, scale, shift}, kernels_take) && out.scalar_type() == x.scalar_type() &&
      is_float(scale) && is_float(shift)) {
    const ModulateSilu task{.width = x.size(1),
                            .channels = x.size(2),
                            .tall = x.size(0) / h,
                            .wide = x.size(1) / w,
                            .element = *element_of(x.scalar_type()),
                            .x = x.const_data_ptr(),
                            .scale = scale.const_data_ptr<float>(),
                            .shift = shift.const_data_ptr<float>(),
                            .out = out.mutable_data_ptr()};
    at::parallel_for(0, x.size(0), 1, [&](int64_t begin, int64_t end) { modulate_silu(task, begin, end); });
    return;
  }
  const auto rectangles = [&](const Tensor& t) { return t.unflatten(0, {h, -1}).unflatten(2, {w, -1}); };
  const auto spread = [&](const Tensor& t) { return t.to(x.scalar_type()).unsqueeze(1).unsqueeze(3); };
  auto to = rectangles(out);  // [h, H/h, w, W/w, C]
  at::addcmul_out(to, spread(shift), rectangles(x), spread(scale));
  at::silu_(to);
}

}  // namespace eav
