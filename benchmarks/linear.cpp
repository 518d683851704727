// A linear layer alone, with the project's kernel or with the library that ATen calls.
#include "bench.h"
#include "kernels/matmul.h"

namespace eav::bench {

std::function<void()> linear(const Arguments& arguments) {
  const bool kernel = arguments.at(0) == "kernel";
  const int64_t rows = std::stol(arguments.at(1)), in = std::stol(arguments.at(2)), out = std::stol(arguments.at(3));
  const auto x = at::randn({rows, in}), weight = at::randn({out, in}), bias = at::randn({out});
  auto y = at::empty({rows, out});
  return [=]() mutable {
    if (!kernel) {
      at::addmm_out(y, bias, x, weight.t());
      return;
    }
    matmul({.rows = rows,
            .in = in,
            .out = out,
            .x = x.const_data_ptr<float>(),
            .weight = weight.const_data_ptr(),
            .stored = Element::float32,
            .bias = bias.const_data_ptr<float>(),
            .y = y.mutable_data_ptr<float>(),
            .y_stride = out,
            .finish = nullptr});
  };
}

}  // namespace eav::bench
