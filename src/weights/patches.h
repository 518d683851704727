// What is added to the tensors of a part when they are loaded.
#pragma once
#include <ATen/ATen.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace eav {
using at::Tensor;

// A matrix, whole or as the product of two.
struct Factors {
  Tensor left;        // [rows, rank], or the whole [rows, columns]
  Tensor right = {};  // [rank, columns]; undefined where `left` is the whole

  int64_t rows() const { return left.size(0); }
  int64_t columns() const { return (right.defined() ? right : left).size(1); }
  // Rows begin..begin+count-1 in float32 on that device.
  Tensor dense(int64_t begin, int64_t count, at::Device device) const;
};

// A change of a matrix: `first` (LoRA), its element-wise product with `second` (LoHa), or their Kronecker product
// (LoKr), times `scale`.
struct Delta {
  enum class Form { one, hadamard, kronecker };

  Form form = Form::one;
  Factors first;
  Factors second = {};
  double scale = 1;  // alpha / rank

  int64_t rows() const { return first.rows() * (form == Form::kronecker ? second.rows() : 1); }
  int64_t columns() const { return first.columns() * (form == Form::kronecker ? second.columns() : 1); }
  // Rows begin..begin+count-1, [count, columns] in float32 on that device.
  Tensor dense(int64_t begin, int64_t count, at::Device device) const;
};

// A change of one tensor.
struct Patch {
  Delta delta;
  double strength = 1;
  int64_t begin = 0, rows = 0;  // of the delta: those that are this tensor's
  int64_t at = 0;               // the tensor's row that they begin at
  // Of a DoRA: the length of each row [rows, 1], or column [1, columns], of the changed matrix. Of such a change,
  // `strength` is the part that is taken.
  Tensor magnitude = {};

  // Adds it to a tensor in float32 [rows, ...], in place. Fewer columns are those of the first input channels.
  void add_to(const Tensor& tensor) const;
};

// y += x D^T for the changes D of a matrix, each times its strength; x [n, columns], y [n, rows], in x's type. None may
// be a DoRA.
void add_products(const std::vector<Patch>& patches, const Tensor& x, const Tensor& y);

class Patches {
 public:
  void add(const std::string& key, Patch patch) { by_key_[key].push_back(std::move(patch)); }
  bool empty() const { return by_key_.empty(); }
  // Those of a tensor, in the order in which they are applied; nullptr where there are none.
  const std::vector<Patch>* find(const std::string& key) const {
    const auto found = by_key_.find(key);
    return found == by_key_.end() ? nullptr : &found->second;
  }

 private:
  std::map<std::string, std::vector<Patch>> by_key_;
};

}  // namespace eav
