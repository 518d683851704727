#include "weights/matrix.h"

#include <algorithm>

#include "base/meta_memory.h"
#include "kernels/element.h"
#include "kernels/gelu.h"
#include "kernels/matmul.h"
#include "weights/gelu.h"

namespace eav {
namespace {

constexpr int64_t kLeastRows = 32;  // of x; with fewer, packing the matrix costs more than the faster product saves

// y = finish(x M^T + b) with the kernel; false, and nothing done, where it does not serve.
bool with_kernel(const Tensor& matrix, const Tensor& x, const std::optional<Tensor>& bias, const Tensor& y,
                 void (*finish)(float*, int64_t)) {
  const auto stored = element_of(matrix.scalar_type());
  if (!stored || !is_for_cpu(matrix) || !matrix.is_contiguous() || !matmul_is_faster() ||
      x.scalar_type() != at::kFloat || x.size(0) < kLeastRows || y.stride(1) != 1)
    return false;
  const auto input = x.contiguous();
  const auto b = bias ? bias->to(at::kFloat).contiguous() : Tensor();
  if (y.is_meta()) return true;
  matmul({.rows = x.size(0),
          .in = matrix.size(1),
          .out = matrix.size(0),
          .x = input.const_data_ptr<float>(),
          .weight = matrix.const_data_ptr(),
          .stored = *stored,
          .bias = b.defined() ? b.const_data_ptr<float>() : nullptr,
          .y = y.mutable_data_ptr<float>(),
          .y_stride = y.stride(0),
          .finish = finish});
  return true;
}

// Rows of a matrix that are widened, or made numbers, at a time: as many as stay in the last cache, and the same number
// each time, but for the last.
int64_t rows_at_a_time(int64_t rows, int64_t columns, at::ScalarType type) {
  constexpr int64_t kBytes = 16 << 20;
  constexpr int64_t kMultiple = 64;  // of rows: products take some at a time
  const auto row = std::max<int64_t>(columns * static_cast<int64_t>(c10::elementSize(type)), 1);
  const auto most = std::max<int64_t>(kBytes / row, 1), tiles = std::max<int64_t>((rows + most - 1) / most, 1);
  const auto equal = (rows + tiles - 1) / tiles;
  return std::clamp<int64_t>((equal + kMultiple - 1) / kMultiple * kMultiple, 1, std::max<int64_t>(rows, 1));
}

// Calls use(tile, first, count) for all rows, a few at a time: make(tile, first, count) fills a tile [count, columns].
template <class Make, class Use>
void each_tile(int64_t rows, int64_t columns, const at::TensorOptions& options, const Make& make, const Use& use) {
  const auto most = rows_at_a_time(rows, columns, options.dtype().toScalarType());
  const auto buffer = at::empty({most, columns}, options);
  for (int64_t first = 0; first < rows; first += most) {
    const auto count = std::min(most, rows - first);
    const auto tile = buffer.narrow(0, 0, count);
    make(tile, first, count);
    use(tile, first, count);
  }
}

std::optional<Tensor> part_of(const std::optional<Tensor>& bias, int64_t first, int64_t count) {
  return bias ? std::optional(bias->narrow(0, first, count)) : std::nullopt;
}

// y = x M^T + b by ATen, all of one type.
void by_library(const Tensor& m, const Tensor& x, const std::optional<Tensor>& bias, Tensor y) {
  const bool packs = y.is_meta() && x.scalar_type() != at::kFloat;  // oneDNN, in 16-bit arithmetic
  const auto packed = packs ? at::empty_like(m) : Tensor();
  if (bias)
    at::addmm_out(y, bias->to(x.scalar_type()), x, m.t());
  else
    at::mm_out(y, x, m.t());
}

void with_library(const Tensor& matrix, const Tensor& x, const std::optional<Tensor>& bias, const Tensor& y) {
  const auto type = x.scalar_type();
  if (matrix.scalar_type() == type || !is_for_cpu(matrix)) return by_library(matrix.to(type), x, bias, y);
  each_tile(
      matrix.size(0), matrix.size(1), x.options(),
      [&](const Tensor& tile, int64_t first, int64_t count) { tile.copy_(matrix.narrow(0, first, count)); },
      [&](const Tensor& tile, int64_t first, int64_t count) {
        by_library(tile, x, part_of(bias, first, count), y.narrow(1, first, count));
      });
}

// y = then(x M^T + b) of numbers
void multiply_by(const Tensor& matrix, const Tensor& x, const std::optional<Tensor>& bias, const Tensor& y,
                 Matrix::Then then) {
  const bool gelu = then == Matrix::Then::kGeluTanh;
  if (with_kernel(matrix, x, bias, y, gelu ? gelu_tanh_row : nullptr)) return;
  with_library(matrix, x, bias, y);
  if (gelu) gelu_tanh_(y);
}

int64_t bytes_of(const Packed& packed) {
  return static_cast<int64_t>(packed.bytes.nbytes() + (packed.scale ? packed.scale->nbytes() : 0));
}

}  // namespace

Matrix Matrix::of_patches(const Weights& w, const std::vector<int64_t>& shape) {
  if (w.rounding() != Weights::Rounding::none) return quantised(w, shape, 0, shape[0]);
  const auto* added = w.patches("weight");
  // The lengths that a DoRA gives to rows are no sum: such a matrix is held as numbers.
  const bool is_sum = added == nullptr || std::ranges::none_of(*added, [](auto& p) { return p.magnitude.defined(); });
  auto packed = is_sum ? w.packed("weight", shape) : std::nullopt;
  if (!packed) return Matrix(w.load_matrix("weight", shape).flatten(1));
  Matrix matrix(*std::move(packed));
  if (added != nullptr)
    for (const auto& patch : *added) matrix.added_.push_back(patch.on(matrix.device()));
  return matrix;
}

Matrix Matrix::of_rows(const Weights& w, int64_t rows, int64_t columns, int64_t first, int64_t count) {
  if (w.rounding() != Weights::Rounding::none) return quantised(w, {rows, columns}, first, count);
  return Matrix(w, rows, columns).row_slice(first, count);
}

Matrix Matrix::quantised(const Weights& w, const std::vector<int64_t>& shape, int64_t first, int64_t count) {
  const auto plain = w.quantised(Weights::Rounding::none);
  const auto source = of_patches(plain.as_stored("weight"), shape).row_slice(first, count);
  const auto numbers = [&](int64_t begin, int64_t n) { return source.row_slice(begin, n).dense(at::kFloat); };
  const bool for_products = w.rounding() == Weights::Rounding::products;
  if (for_products ? !fits_int8(source.columns()) : !fits_q8_0(source.columns()))
    return of_patches(plain, shape).row_slice(first, count);
  auto packed = for_products ? quantized_to_int8(source.rows(), source.columns(), numbers)
                             : quantized_to_q8_0(source.rows(), source.columns(), numbers);
  const auto key = w.prefix() + "weight";
  w.checkpoint().forget(key);  // it is not read again
  if (!for_products || !int8_is_fast()) {
    w.checkpoint().hold(key, bytes_of(packed));
    return Matrix(std::move(packed));
  }
  auto tiles = in_tiles(packed);
  w.checkpoint().hold(key, tiles.bytes());
  return Matrix(std::move(tiles));
}

Matrix Matrix::row_slice(int64_t first, int64_t count) const {
  if (int8()) return Matrix(in_tiles(in_rows(*int8()).row_slice(first, count)));
  if (!packed()) return Matrix(numbers().narrow(0, first, count));
  Matrix slice(packed()->row_slice(first, count));
  for (auto patch : added_) {
    const auto begin = std::max(patch.at, first), end = std::min(patch.at + patch.rows, first + count);
    if (begin >= end) continue;
    patch.begin += begin - patch.at;
    patch.rows = end - begin;
    patch.at = begin - first;
    slice.added_.push_back(std::move(patch));
  }
  return slice;
}

Tensor Matrix::dense(at::ScalarType type) const {
  if (int8()) return dequantized(in_rows(*int8()), type);
  if (!packed()) return numbers().to(type);
  if (added_.empty()) return dequantized(*packed(), type);
  const auto all = dequantized(*packed(), at::kFloat);
  for (const auto& patch : added_) patch.add_to(all);
  return all.to(type);
}

void Matrix::multiply(const Tensor& x, const std::optional<Tensor>& bias, const Tensor& y, Then then) const {
  if (added_.empty()) return multiply_stored(x, bias, y, then);
  multiply_stored(x, bias, y, Then::kNothing);
  add_products(added_, x, y);
  if (then == Then::kGeluTanh) gelu_tanh_(y);
}

void Matrix::multiply_stored(const Tensor& x, const std::optional<Tensor>& bias, const Tensor& y, Then then) const {
  if (int8()) return eav::multiply(*int8(), x, bias, y, then == Then::kGeluTanh);
  if (!packed()) return multiply_by(numbers(), x, bias, y, then);
  each_tile(
      rows(), columns(), x.options(),
      [&](const Tensor& tile, int64_t first, int64_t count) { dequantize(packed()->row_slice(first, count), tile); },
      [&](const Tensor& tile, int64_t first, int64_t count) {
        multiply_by(tile, x, part_of(bias, first, count), y.narrow(1, first, count), then);
      });
}

Tensor Matrix::look_up(const Tensor& ids, at::ScalarType type) const {
  auto shape = ids.sizes().vec();
  shape.push_back(columns());
  if (int8()) return Matrix(in_rows(*int8())).look_up(ids, type);
  if (packed()) return dequantized(packed()->rows_of(ids.to(device()).flatten()), type).view(shape);
  if (numbers().is_meta()) return at::empty(shape, numbers().options()).to(type);
  return at::embedding(numbers(), ids.to(device())).to(type);
}

}  // namespace eav
