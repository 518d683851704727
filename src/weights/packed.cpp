#include "weights/packed.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <vector>

#include "base/meta_memory.h"
#include "kernels/dequantize.h"

namespace eav {
namespace {

// Two bytes from `first` on of every block, as a float16 number: [n, 1]
Tensor half_at(const Tensor& blocks, int64_t first) {
  return blocks.narrow(1, first, 2).contiguous().view(at::kHalf).to(at::kFloat);
}

// The `count` bits from `shift` on of every byte.
Tensor bits_from(const Tensor& bytes, int64_t shift, int64_t count) {
  return bytes.bitwise_right_shift(shift).bitwise_and((1 << count) - 1);
}

// Bytes [n, g * size] -> [n, g * parts * size]: of each group of `size` bytes the lowest 8 / parts bits, then the next.
Tensor fields_of(const Tensor& bytes, int64_t size, int64_t parts) {
  const auto grouped = bytes.reshape({bytes.size(0), -1, 1, size});
  std::vector<Tensor> of_parts;
  for (int64_t i = 0; i < parts; ++i) of_parts.push_back(bits_from(grouped, i * 8 / parts, 8 / parts));
  return at::cat(of_parts, 2).flatten(1);
}

Tensor signed_less(const Tensor& bytes, int64_t offset) { return bytes.to(at::kFloat).sub_(offset); }

// The fifth bits of 32 elements, in four bytes: [n, 4] -> [n, 32]
Tensor fifth_bits(const Tensor& bytes) {
  std::vector<Tensor> of_bits;
  for (int64_t i = 0; i < 8; ++i) of_bits.push_back(bits_from(bytes, i, 1));
  return at::stack(of_bits, 2).flatten(1).mul_(16);
}

// [n, groups] scales on [n, elements] quants
Tensor scaled(const Tensor& scales, const Tensor& quants) {
  return quants.view({quants.size(0), scales.size(1), -1}).mul(scales.unsqueeze(2)).flatten(1);
}

// d * scale * quant - dmin * least, with scales of eight groups, six bits each in twelve bytes.
Tensor scaled_groups(const Tensor& blocks, const Tensor& quants) {
  const auto first = blocks.narrow(1, 4, 4), second = blocks.narrow(1, 8, 4), third = blocks.narrow(1, 12, 4);
  const auto upper = [](const Tensor& v) { return v.bitwise_right_shift(2).bitwise_and(0x30); };
  const auto scales = at::cat({first.bitwise_and(63), third.bitwise_and(15).bitwise_or(upper(first))}, 1);
  const auto least = at::cat({second.bitwise_and(63), third.bitwise_right_shift(4).bitwise_or(upper(second))}, 1);
  const auto d = half_at(blocks, 0).mul(scales), offset = half_at(blocks, 2).mul(least);  // [n, 8]
  return quants.to(at::kFloat).view({-1, 8, 32}).mul(d.unsqueeze(2)).sub(offset.unsqueeze(2)).flatten(1);
}

Tensor iq4_values(const Tensor& indices) {
  const auto table = at::tensor(at::ArrayRef<int8_t>(kIq4Values), at::TensorOptions(at::kFloat)).to(indices.device());
  return table.index({indices.to(at::kLong)});
}

void rotate_(const Tensor& rows, int64_t group) {
  const auto groups = rows.view({-1, group});
  groups.copy_(at::mm(groups, regular_hadamard(group, rows.options())));
}

// With the kernel; `to` is contiguous, float32 or bfloat16.
void unpack_with_kernel(const Packed& packed, const Tensor& to) {
  const auto rows = packed.rows(), stride = packed.bytes.size(1), columns = to.size(1);
  const auto blocks = stride / layout_of(packed.packing).bytes;
  const auto* from = packed.bytes.const_data_ptr<uint8_t>();
  const auto scale = packed.scale ? packed.scale->contiguous() : Tensor();
  const auto* scales = scale.defined() ? scale.const_data_ptr<float>() : nullptr;
  const bool one = scale.defined() && scale.numel() == 1;
  const auto run = [&](auto* out) {
    constexpr int64_t kLeast = 16384;  // elements that are worth a thread
    at::parallel_for(0, rows, std::max<int64_t>(kLeast / std::max<int64_t>(columns, 1), 1),
                     [&](int64_t begin, int64_t end) {
                       for (auto row = begin; row < end; ++row)
                         dequantize(packed.packing, from + row * stride, blocks, scales ? scales[one ? 0 : row] : 1.0f,
                                    out + row * columns);
                     });
  };
  if (to.scalar_type() == at::kFloat)
    run(to.mutable_data_ptr<float>());
  else
    run(to.mutable_data_ptr<c10::BFloat16>());
}

}  // namespace

Packed Packed::row_slice(int64_t first, int64_t count) const {
  auto part = *this;
  part.bytes = bytes.narrow(0, first, count);
  if (scale && scale->numel() > 1) part.scale = scale->narrow(0, first, count);
  return part;
}

Packed Packed::rows_of(const Tensor& numbers) const {
  auto part = *this;
  part.bytes = bytes.index({numbers});  // which a plan can do as well
  if (scale && scale->numel() > 1) part.scale = scale->index({numbers});
  return part;
}

Tensor unpacked_by_operators(const Tensor& blocks, Packing packing) {
  const auto part = [&](int64_t first, int64_t count) { return blocks.narrow(1, first, count); };
  switch (packing) {
    case Packing::float8_e4m3:
      return blocks.contiguous().view(at::kFloat8_e4m3fn).to(at::kFloat);
    case Packing::float8_e5m2:
      return blocks.contiguous().view(at::kFloat8_e5m2).to(at::kFloat);
    case Packing::int8:
      return blocks.contiguous().view(at::kChar).to(at::kFloat);
    case Packing::q8_0:
      return part(2, 32).contiguous().view(at::kChar).to(at::kFloat).mul(half_at(blocks, 0));
    case Packing::q4_0:
      return signed_less(fields_of(part(2, 16), 16, 2), 8).mul(half_at(blocks, 0));
    case Packing::q4_1:
      return fields_of(part(4, 16), 16, 2).to(at::kFloat).mul(half_at(blocks, 0)).add(half_at(blocks, 2));
    case Packing::q5_0:
      return signed_less(fields_of(part(6, 16), 16, 2).bitwise_or(fifth_bits(part(2, 4))), 16).mul(half_at(blocks, 0));
    case Packing::q5_1:
      return fields_of(part(8, 16), 16, 2)
          .bitwise_or(fifth_bits(part(4, 4)))
          .to(at::kFloat)
          .mul(half_at(blocks, 0))
          .add(half_at(blocks, 2));
    case Packing::q2_k: {
      const auto d = half_at(blocks, 80).mul(part(0, 16).bitwise_and(15));
      const auto least = half_at(blocks, 82).mul(part(0, 16).bitwise_right_shift(4));
      const auto quants = fields_of(part(16, 64), 32, 4).to(at::kFloat).view({-1, 16, 16});
      return quants.mul(d.unsqueeze(2)).sub(least.unsqueeze(2)).flatten(1);
    }
    case Packing::q3_k: {
      const auto low = fields_of(part(96, 8), 8, 2), high = fields_of(part(104, 4), 4, 4);
      const auto d = half_at(blocks, 108).mul(signed_less(low.bitwise_or(high.mul(16)), 32));
      const auto third = fields_of(part(0, 32), 32, 8);
      return scaled(d, signed_less(fields_of(part(32, 64), 32, 4).add(third.mul(4)), 4));
    }
    case Packing::q4_k:
      return scaled_groups(blocks, fields_of(part(16, 128), 32, 2));
    case Packing::q5_k:
      return scaled_groups(blocks, fields_of(part(48, 128), 32, 2).bitwise_or(fields_of(part(16, 32), 32, 8).mul(16)));
    case Packing::q6_k: {
      const auto d = half_at(blocks, 208).mul(part(192, 16).contiguous().view(at::kChar));
      return scaled(
          d, signed_less(fields_of(part(0, 128), 64, 2).bitwise_or(fields_of(part(128, 64), 32, 4).mul(16)), 32));
    }
    case Packing::iq4_nl:
      return iq4_values(fields_of(part(2, 16), 16, 2)).mul(half_at(blocks, 0));
    case Packing::iq4_xs: {
      const auto low = fields_of(part(4, 4).unsqueeze(2).flatten(1), 1, 2);  // [n, 8]
      const auto high = fields_of(part(2, 2), 1, 4);
      const auto d = half_at(blocks, 0).mul(signed_less(low.bitwise_or(high.mul(16)), 32));
      return scaled(d, iq4_values(fields_of(part(8, 128), 16, 2)));
    }
  }
  return {};
}

Tensor regular_hadamard(int64_t size, const at::TensorOptions& options) {
  const auto of_four = at::tensor({1, 1, 1, -1, 1, 1, -1, 1, 1, -1, 1, 1, -1, 1, 1, 1}, at::kFloat).view({4, 4}) / 2;
  const bool power_of_four = (static_cast<uint64_t>(size) & 0x5555555555555555u) != 0;
  auto matrix = power_of_four ? at::ones({1, 1}) : at::tensor({1, 1, 1, -1}, at::kFloat).view({2, 2}) / std::sqrt(2.0);
  while (matrix.size(0) < size) matrix = at::kron(matrix, of_four);
  return matrix.to(options);
}

void dequantize(const Packed& packed, const Tensor& to) {
  const auto type = to.scalar_type();
  if (packed.rotated > 0) {
    auto rows = packed;
    rows.rotated = 0;
    const auto rotated = dequantized(rows, at::kFloat);
    if (!rotated.is_meta()) rotate_(rotated, packed.rotated);
    to.copy_(rotated);
    return;
  }
  const bool has_kernel = (type == at::kFloat || type == at::kBFloat16) && to.is_contiguous();
  if (is_for_cpu(to) && has_kernel) {
    if (!to.is_meta()) unpack_with_kernel(packed, to);
    return;
  }
  if (is_for_cpu(to)) {
    to.copy_(dequantized(packed, at::kFloat));
    return;
  }
  const auto blocks = packed.bytes.reshape({-1, layout_of(packed.packing).bytes});
  auto numbers = unpacked_by_operators(blocks, packed.packing).view(to.sizes());
  if (packed.scale) numbers = numbers.mul(packed.scale->view({-1, 1}));
  to.copy_(numbers);
}

Tensor dequantized(const Packed& packed, at::ScalarType type) {
  const auto to = at::empty({packed.rows(), packed.columns()}, packed.bytes.options().dtype(type));
  dequantize(packed, to);
  return to;
}

}  // namespace eav
