#include "weights/patches.h"

#include <c10/util/accumulate.h>

#include <limits>

namespace eav {

Tensor Factors::dense(int64_t begin, int64_t count, at::Device device) const {
  const auto there = [&](const Tensor& t) { return t.to(device, at::kFloat); };
  const auto part = there(left.narrow(0, begin, count));
  return right.defined() ? part.mm(there(right)) : part;
}

Tensor Delta::dense(int64_t begin, int64_t count, at::Device device) const {
  if (form == Form::one) return first.dense(begin, count, device).mul(scale);
  if (form == Form::hadamard)
    return first.dense(begin, count, device).mul(second.dense(begin, count, device)).mul_(scale);
  const auto whole = at::kron(first.dense(0, first.rows(), device), second.dense(0, second.rows(), device));
  return whole.narrow(0, begin, count).mul_(scale);
}

void Patch::add_to(const Tensor& tensor) const {
  auto part = tensor.narrow(0, at, rows);
  if (tensor.dim() > 1) {
    const auto kernel = c10::multiply_integers(tensor.sizes().slice(2));
    part = part.narrow(1, 0, delta.columns() / kernel);
  }
  const auto added = delta.dense(begin, rows, tensor.device());
  if (!magnitude.defined()) {
    part.add_(added.view_as(part), strength);
    return;
  }
  // Each row, or column, gets the length that was learned for it.
  const bool of_rows = magnitude.size(1) == 1;
  const auto changed = added.add_(part.reshape_as(added));
  const auto length = changed.square().sum(of_rows ? 1 : 0, /*keepdim=*/true).sqrt_();
  const auto learned = magnitude.to(tensor.device(), at::kFloat);
  changed.mul_(learned / length.add_(std::numeric_limits<float>::epsilon()));
  part.add_(changed.view_as(part) - part, strength);
}

}  // namespace eav
