// How the stand-in device runs an operator: one launch, on the CPU, on the device's memory.
#pragma once
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

namespace fake_device {

// Replaces the operator's arguments on the stack by its results. `computed` takes the same arguments and is what the
// CPU runs. Throws c10::Error where CUDA would: for tensors of several devices and for types that it has no kernel for.
void launch(const c10::OperatorHandle& op, const c10::OperatorHandle& computed, torch::jit::Stack* stack);

}  // namespace fake_device
