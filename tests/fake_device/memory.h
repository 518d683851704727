// Memory of the stand-in device. Its addresses belong to nothing that the host may touch: a read or write stops the
// process there, like a freed one, since no address is given twice. Kernels find the elements elsewhere.
#pragma once
#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>

namespace fake_device {

// Throws c10::OutOfMemoryError beyond capacity().
c10::DeviceAllocator& allocator();

// The elements of a tensor on the device, as its kernels see them: a CPU tensor of the same memory.
at::Tensor on_host(const at::Tensor& tensor);

// The device's address of what kernels see at `data`; null where that is no memory of the device.
const void* device_address(const void* data);

// Memory of the host that copies need not be prepared for.
c10::Allocator& pinned_allocator();
bool is_pinned(const void* data);

}  // namespace fake_device
