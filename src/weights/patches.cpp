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

void add_products(const std::vector<Patch>& patches, const Tensor& x, const Tensor& y) {
  const auto type = x.scalar_type();
  for (const auto& patch : patches) {
    const auto& [delta, strength, begin, rows, at, magnitude] = patch;
    const auto part = y.narrow(1, at, rows), in = x.narrow(1, 0, delta.columns());
    if (delta.form != Delta::Form::one || !delta.first.right.defined()) {
      part.addmm_(in, delta.dense(begin, rows, x.device()).to(type).t(), 1, strength);
      continue;
    }
    const auto here = [&](const Tensor& t) { return t.to(x.device(), type); };
    const auto down = in.mm(here(delta.first.right).t());  // [n, rank]
    part.addmm_(down, here(delta.first.left.narrow(0, begin, rows)).t(), 1, strength * delta.scale);
  }
}

}  // namespace eav
