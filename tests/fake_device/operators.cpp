// The operators that every device registers itself: memory, views, copies; and those for which the CPU has another.
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <torch/library.h>

#include <optional>

#include "counters.h"
#include "kernel.h"
#include "memory.h"

namespace fake_device {
namespace {

using at::IntArrayRef;
using at::Tensor;
using torch::jit::Stack;

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

// ---- memory ---------------------------------------------------------------------------------------------------------

Tensor empty(IntArrayRef size, std::optional<at::ScalarType> type, std::optional<at::Layout>, std::optional<at::Device>,
             std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &allocator(), kKeys, c10::dtype_or_default(type), format);
}

Tensor empty_strided(IntArrayRef size, IntArrayRef stride, std::optional<at::ScalarType> type,
                     std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &allocator(), kKeys, c10::dtype_or_default(type));
}

// What a tensor held is lost where it grows: only outputs, which hold nothing, are resized.
const Tensor& resize_(const Tensor& self, IntArrayRef size, std::optional<at::MemoryFormat> format) {
  auto* tensor = self.unsafeGetTensorImpl();
  tensor->set_sizes_contiguous(size);
  if (format) tensor->empty_tensor_restride(*format);
  const auto bytes =
      static_cast<size_t>(self.storage_offset() + self.numel()) * static_cast<size_t>(self.element_size());
  if (bytes <= self.storage().nbytes()) return self;
  tensor->set_storage_keep_dtype(c10::Storage(c10::Storage::use_byte_size_t(), bytes, allocator().allocate(bytes),
                                              &allocator(), /*resizable=*/true));
  return self;
}

// ---- copies ---------------------------------------------------------------------------------------------------------

Tensor copy_from(const Tensor& from, const Tensor& to, bool non_blocking) {
  if (to.numel() == 0) return to;
  const auto bytes = static_cast<int64_t>(to.nbytes());
  if (from.is_cpu()) {
    const bool as_it_lies = from.scalar_type() == to.scalar_type() && from.sizes() == to.sizes() &&
                            from.strides() == to.strides() && from.is_non_overlapping_and_dense();
    counters().copied_to_device(bytes, !as_it_lies, non_blocking && is_pinned(from.const_data_ptr()));
  } else if (to.is_cpu()) {
    counters().copied_to_host(bytes);
    if (!non_blocking || !is_pinned(to.const_data_ptr())) counters().synchronized("copy to the host");
  } else {
    counters().launched("copy");
  }
  if (counts_only()) return to;
  (to.is_cpu() ? to : on_host(to)).copy_(from.is_cpu() ? from : on_host(from));
  return to;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, /*non_blocking=*/false);
}

at::Scalar local_scalar_dense(const Tensor& self) {
  counters().synchronized("aten::_local_scalar_dense");
  return at::_local_scalar_dense(on_host(self));
}

// ---- kernels --------------------------------------------------------------------------------------------------------

// Whether a convolution of CUDA's takes it with channels last, as it lies.
bool has_channels_last(const Tensor& x) {
  return x.dim() < 4 ||
         x.is_contiguous(x.dim() == 5 ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::ChannelsLast);
}

void convolution(const c10::OperatorHandle& op, Stack* stack) {
  const auto arguments = stack->end() - static_cast<std::ptrdiff_t>(op.schema().arguments().size());
  for (const auto& x : {arguments[0].toTensor(), arguments[1].toTensor()})
    if (!has_channels_last(x)) counters().converted_layout();
  static const auto computed = c10::Dispatcher::singleton().findSchemaOrThrow("aten::convolution", "");
  launch(op, computed, stack);
}

// A product of 16-bit matrices in float32, which the CPU has none for.
Tensor baddbmm_dtype(const Tensor& self, const Tensor& a, const Tensor& b, at::ScalarType type, const at::Scalar& beta,
                     const at::Scalar& alpha) {
  TORCH_CHECK(self.is_privateuseone() && a.is_privateuseone() && b.is_privateuseone(),
              "Expected all tensors to be on the same device");
  TORCH_CHECK(type == at::kFloat && a.scalar_type() == b.scalar_type() && c10::isReducedFloatingType(a.scalar_type()),
              "out_dtype must be the same as input dtype or fp32 for fp16/bf16 inputs");
  counters().launched("aten::baddbmm.dtype");
  const auto result = at::empty({a.size(0), a.size(1), b.size(2)}, a.options().dtype(type));
  if (!counts_only())
    on_host(result).copy_(at::baddbmm(on_host(self), on_host(a).to(type), on_host(b).to(type), beta, alpha));
  return result;
}

}  // namespace
}  // namespace fake_device

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  using namespace fake_device;
  library.impl("empty.memory_format", TORCH_FN(empty));
  library.impl("empty_strided", TORCH_FN(empty_strided));
  library.impl("resize_", TORCH_FN(resize_));
  library.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  library.impl("view", TORCH_FN(at::native::view));
  library.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  library.impl("unfold", TORCH_FN(at::native::unfold));
  library.impl("_copy_from", TORCH_FN(copy_from));
  library.impl("_copy_from_and_resize", TORCH_FN(copy_from_and_resize));
  library.impl("_local_scalar_dense", TORCH_FN(local_scalar_dense));
  library.impl("baddbmm.dtype", TORCH_FN(baddbmm_dtype));
  library.impl("convolution_overrideable", torch::CppFunction::makeFromBoxedFunction<&convolution>());
}
