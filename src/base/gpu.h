// The GPU behind a device of PyTorch.
#pragma once
#include <c10/core/Device.h>

#include <string>

namespace eav {

// "NVIDIA H100 80GB HBM3, driver 580.65.06, CUDA 13.0", as far as it can be told; empty for a device that is none.
std::string describe_gpu(c10::Device device);

// Waits until a device has done all that it was asked for; a CPU has.
void wait_for(c10::Device device);

}  // namespace eav
