#include "nn/linear.h"

namespace eav {

Tensor Linear::filled(const Tensor& x, Matrix::Then then) const {
  auto shape = x.sizes().vec();
  shape.back() = out_features();
  auto y = at::empty(shape, x.options());
  weight_.multiply(x.reshape({-1, in_features()}), bias_, y.view({-1, shape.back()}), then);
  return y;
}

}  // namespace eav
