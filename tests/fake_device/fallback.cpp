// All operators that are not registered by themselves.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "counters.h"
#include "kernel.h"
#include "memory.h"

namespace fake_device {
namespace {

using at::Tensor;
using c10::IValue;
using torch::jit::Stack;

// ---- what CUDA refuses ----------------------------------------------------------------------------------------------

// A number of the CPU may stand beside tensors of the device, as an argument of the kernel.
void check_device(const Tensor& tensor) {
  if (!tensor.defined() || tensor.is_privateuseone() || (tensor.is_cpu() && tensor.dim() == 0)) return;
  TORCH_CHECK(false, "Expected all tensors to be on the same device, but found at least two devices, fake:0 and ",
              tensor.device(), "!");
}

void check_type(const std::string& op, const Tensor& tensor) {
  static const std::set<std::string> products{"aten::mm",    "aten::addmm",   "aten::bmm",         "aten::baddbmm",
                                              "aten::addmv", "aten::dot",     "aten::convolution", "aten::addbmm",
                                              "aten::ger",   "aten::_int_mm", "aten::mv"};
  if (!tensor.defined() || !products.contains(op)) return;
  TORCH_CHECK(tensor.is_floating_point() || op == "aten::_int_mm", "\"", op.substr(op.find("::") + 2),
              "_cuda\" not implemented for '", tensor.scalar_type(), "'");
}

// Whose results' size is known when the device has computed it.
bool waits_for_size(const c10::OperatorHandle& op, const Stack& arguments) {
  static const std::set<std::string> operators{"aten::nonzero", "aten::masked_select", "aten::_unique2",
                                               "aten::unique_consecutive", "aten::equal"};
  const auto& name = op.operator_name();
  if (name.name == "aten::repeat_interleave" && name.overload_name == "Tensor") return arguments.back().isNone();
  return operators.contains(name.name);
}

// ---- arguments and results ------------------------------------------------------------------------------------------

// Calls change(tensor) for every tensor of a value, also of lists, and puts back what it returns.
template <class Change>
void for_each_tensor(IValue& value, const Change& change) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) value = change(value.toTensor());
  } else if (value.isTensorList()) {
    auto tensors = value.toTensorVector();
    for (auto& tensor : tensors) tensor = change(tensor);
    value = IValue(std::move(tensors));
  } else if (value.isOptionalTensorList()) {
    auto tensors = value.toOptionalTensorList().copy();
    for (size_t i = 0; i < tensors.size(); ++i)
      if (std::optional<Tensor> tensor = tensors[i]; tensor && tensor->defined()) tensors[i] = change(*tensor);
    value = IValue(std::move(tensors));
  }
}

// The arguments of one call, on the device and as the CPU gets them.
class Arguments {
 public:
  Arguments(const c10::FunctionSchema& schema, const std::string& op, Stack& stack, size_t begin, at::Device where) {
    for (size_t i = 0; i < schema.arguments().size(); ++i) {
      const auto& argument = schema.arguments()[i];
      auto& value = stack[begin + i];
      const bool written = argument.alias_info() != nullptr && argument.alias_info()->isWrite();
      const bool indices = value.isOptionalTensorList();  // CUDA takes them from the CPU, and copies them
      for_each_tensor(value, [&](const Tensor& tensor) {
        if (indices && tensor.is_cpu() && tensor.dim() > 0) {
          counters().copied_to_device(static_cast<int64_t>(tensor.nbytes()), /*prepared=*/false, /*pinned=*/false);
          return tensor;
        }
        check_device(tensor);
        check_type(op, tensor);
        if (tensor.is_cpu()) return tensor;
        const bool to_be_made = written && tensor.numel() == 0;  // the operator gives it its size
        const auto other = where.is_meta()
                               ? at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(at::kMeta))
                           : to_be_made ? at::empty({0}, tensor.options().device(at::kCPU))
                                        : on_host(tensor);
        all_.push_back({tensor, other, written});
        return other;
      });
      if (value.isDevice()) value = where;
    }
  }

  // Outputs that got a size.
  void take_sizes() const {
    for (const auto& [device, host, written] : all_) {
      if (!written || device.sizes() == host.sizes()) continue;
      device.resize_(host.sizes());
      if (host.is_cpu() && host.numel() > 0) on_host(device).copy_(host);
    }
  }

  // The tensor of the device for a result of the CPU: an argument, a view of one, or a new tensor.
  Tensor on_device(const Tensor& result) const {
    for (const auto& [device, host, written] : all_)
      if (result.is_same(host)) return device;
    if (const auto* address = result.is_cpu() && result.numel() > 0 ? device_address(result.const_data_ptr()) : nullptr)
      for (const auto& [device, host, written] : all_) {
        const auto* begin = static_cast<const std::byte*>(device.storage().data());
        const auto offset = static_cast<const std::byte*>(address) - begin;
        if (device.scalar_type() == result.scalar_type() && offset >= 0 &&
            offset < static_cast<int64_t>(device.storage().nbytes()))
          return device.as_strided(result.sizes(), result.strides(), offset / static_cast<int64_t>(result.itemsize()));
      }
    const auto made = at::empty_strided(result.sizes(), result.strides(), result.options().device(at::kPrivateUse1, 0));
    if (result.is_cpu() && result.numel() > 0) on_host(made).copy_(result);
    return made;
  }

 private:
  struct Argument {
    Tensor device, host;
    bool written;
  };
  std::vector<Argument> all_;
};

}  // namespace

void launch(const c10::OperatorHandle& op, const c10::OperatorHandle& computed, Stack* stack) {
  const auto name = c10::toString(op.operator_name());
  counters().launched(name);
  if (waits_for_size(op, *stack)) counters().synchronized(name);

  const auto begin = stack->size() - op.schema().arguments().size();
  const Arguments arguments(op.schema(), computed.operator_name().name, *stack, begin,
                            counts_only() ? at::kMeta : at::kCPU);
  computed.redispatchBoxed(c10::DispatchKeySet(counts_only() ? c10::DispatchKey::Meta : c10::DispatchKey::CPU), stack);
  arguments.take_sizes();
  for (auto i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i)
    for_each_tensor((*stack)[i], [&](const Tensor& result) { return arguments.on_device(result); });
}

namespace {

void fallback(const c10::OperatorHandle& op, Stack* stack) { launch(op, op, stack); }

}  // namespace
}  // namespace fake_device

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&fake_device::fallback>());
}

// Operators that CUDA computes in one kernel, and that ATen would take apart before it asks for a fallback.
TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  for (const auto* name : {"native_layer_norm", "native_group_norm", "scaled_dot_product_attention"})
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&fake_device::fallback>());
}
