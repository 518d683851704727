#include "weights/int8.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "kernels/int8.h"
#include "kernels/quantize.h"

namespace eav {

bool int8_is_fast() { return int8_kernel_works(); }

bool fits_int8(int64_t columns) { return columns > 0 && columns <= kInt8MostColumns; }

namespace {

constexpr int64_t kSome = 256;  // rows that are numbers at a time

// Calls round(rows in float32, number of the first of them) for all rows, some at a time.
void each_some(int64_t rows, const Tensor& first, const std::function<Tensor(int64_t, int64_t)>& numbers,
               const std::function<void(const Tensor&, int64_t)>& round) {
  for (int64_t begin = 0; begin < rows; begin += kSome)
    round((begin == 0 ? first : numbers(begin, std::min(kSome, rows - begin))).contiguous(), begin);
}

}  // namespace

Packed quantized_to_int8(int64_t rows, int64_t columns, const std::function<Tensor(int64_t, int64_t)>& numbers) {
  const auto first = numbers(0, std::min(rows, kSome));
  const auto there = first.options();
  Packed packed{at::empty({rows, columns}, there.dtype(at::kByte)), Packing::int8,
                at::empty({rows}, there.dtype(at::kFloat)), int8_rotation(columns)};
  if (first.is_meta()) return packed;
  auto* bytes = packed.bytes.mutable_data_ptr<uint8_t>();
  auto* scales = packed.scale->mutable_data_ptr<float>();
  each_some(rows, first, numbers, [&](const Tensor& some, int64_t begin) {
    const auto* from = some.const_data_ptr<float>();
    at::parallel_for(0, some.size(0), 8, [&](int64_t from_row, int64_t to_row) {
      const auto padded = columns + kInt8Padding;
      const auto scratch = at::empty({padded}, at::kFloat), row = at::empty({padded}, at::kByte);
      const auto* quants = row.const_data_ptr<uint8_t>();
      for (auto r = from_row; r < to_row; ++r) {
        scales[begin + r] = quantize_int8(from + r * columns, Element::float32, columns, packed.rotated,
                                          scratch.mutable_data_ptr<float>(), row.mutable_data_ptr<uint8_t>());
        std::transform(quants, quants + columns, bytes + (begin + r) * columns,
                       [](uint8_t quant) { return static_cast<uint8_t>(quant ^ 0x80u); });  // less 128
      }
    });
  });
  return packed;
}

bool fits_q8_0(int64_t columns) { return columns > 0 && columns % layout_of(Packing::q8_0).elements == 0; }

Packed quantized_to_q8_0(int64_t rows, int64_t columns, const std::function<Tensor(int64_t, int64_t)>& numbers) {
  const auto size = layout_of(Packing::q8_0).bytes, blocks = columns / layout_of(Packing::q8_0).elements;
  const auto first = numbers(0, std::min(rows, kSome));
  Packed packed{at::empty({rows, blocks * size}, first.options().dtype(at::kByte)), Packing::q8_0};
  if (first.is_meta()) return packed;
  auto* bytes = packed.bytes.mutable_data_ptr<uint8_t>();
  each_some(rows, first, numbers, [&](const Tensor& some, int64_t begin) {
    const auto* from = some.const_data_ptr<float>();
    at::parallel_for(0, some.size(0), 8, [&](int64_t from_row, int64_t to_row) {
      quantize(Packing::q8_0, from + from_row * columns, (to_row - from_row) * blocks,
               bytes + (begin + from_row) * blocks * size);
    });
  });
  return packed;
}

Int8Matrix in_tiles(const Packed& packed) {
  const auto rows = packed.rows(), columns = packed.columns(), padded = int8_padded_rows(rows);
  const auto there = packed.bytes.options();
  Int8Matrix matrix{at::empty({int8_bytes(rows, columns)}, there.dtype(at::kChar)),
                    at::zeros({padded}, there.dtype(at::kFloat)),
                    at::empty({padded}, there.dtype(at::kInt)),
                    rows,
                    columns,
                    packed.rotated};
  matrix.scales.narrow(0, 0, rows).copy_(*packed.scale);
  if (!packed.bytes.is_meta())
    pack_int8(packed.bytes.contiguous().view(at::kChar).const_data_ptr<int8_t>(), rows, columns,
              matrix.tiles.mutable_data_ptr<int8_t>(), matrix.sums.mutable_data_ptr<int32_t>());
  return matrix;
}

Packed in_rows(const Int8Matrix& matrix) {
  const auto rows = at::empty({matrix.rows, matrix.columns}, matrix.tiles.options());
  if (!rows.is_meta())
    unpack_int8(matrix.tiles.const_data_ptr<int8_t>(), matrix.rows, matrix.columns, rows.mutable_data_ptr<int8_t>());
  return {rows.view(at::kByte), Packing::int8, matrix.scales.narrow(0, 0, matrix.rows), matrix.rotated};
}

void multiply(const Int8Matrix& matrix, const Tensor& x, const std::optional<Tensor>& bias, const Tensor& y,
              bool gelu_tanh) {
  const auto element = element_of(x.scalar_type());
  if ((element != Element::float32 && element != Element::bfloat16) || y.stride(1) != 1) {
    const auto numbers = at::empty(y.sizes(), y.options().dtype(at::kFloat));
    multiply(matrix, x.to(at::kFloat), bias, numbers, gelu_tanh);
    y.copy_(numbers);
    return;
  }
  const auto input = x.stride(1) == 1 ? x : x.contiguous();
  const auto b = bias ? bias->to(at::kFloat).contiguous() : Tensor();
  if (y.is_meta()) return;
  multiply({.rows = x.size(0),
            .in = matrix.columns,
            .out = matrix.rows,
            .x = input.const_data_ptr(),
            .x_stride = input.stride(0),
            .element = *element,
            .rotated = matrix.rotated,
            .tiles = matrix.tiles.const_data_ptr<int8_t>(),
            .scales = matrix.scales.const_data_ptr<float>(),
            .sums = matrix.sums.const_data_ptr<int32_t>(),
            .bias = b.defined() ? b.const_data_ptr<float>() : nullptr,
            .y = y.mutable_data_ptr(),
            .y_stride = y.stride(0),
            .gelu_tanh = gelu_tanh});
}

}  // namespace eav
