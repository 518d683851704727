#include "weights/placement.h"

#include <ATen/Context.h>
#include <fmt/format.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "eav/error.h"

namespace eav {

at::Device parse_device(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  const bool cuda = name == "cuda" || (name.starts_with("cuda:") && name.size() > 5 && name.size() < 9 &&
                                       name.find_first_not_of("0123456789", 5) == std::string::npos);
  if (!cuda) throw Error(fmt::format("the device \"{}\" is unknown: choose cpu, cuda or cuda:N", name));
  if (!at::hasCUDA())
    throw Error(fmt::format("the device \"{}\" is not there: {}", name,
                            at::globalContext().hasCUDA()
                                ? "no CUDA device was found"
                                : "this build of PyTorch has no CUDA, or no GPU was found; choose cpu"));
  const int index = name == "cuda" ? 0 : std::stoi(name.substr(5));
  if (index >= static_cast<int>(at::detail::getCUDAHooks().deviceCount()))
    throw Error(fmt::format("the device \"{}\" is not there: {} CUDA device(s) were found", name,
                            static_cast<int>(at::detail::getCUDAHooks().deviceCount())));
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

bool cpu_has(at::ScalarType type) {
  if (type == at::kFloat) return true;
#if defined(__x86_64__)
  if (type == at::kBFloat16) return __builtin_cpu_supports("avx512bf16");
  return false;  // float16 products stay slower than float32's even with AVX512-FP16
#elif defined(__aarch64__)
  return type == at::kBFloat16 && (getauxval(AT_HWCAP2) & HWCAP2_BF16) != 0;
#else
  return false;
#endif
}

Placement place(Dtype dtype, at::Device device, at::ScalarType stored) {
  if (dtype == Dtype::automatic) {
    if (device.is_cpu()) throw Error("internal: \"auto\" is resolved by the memory at hand on a CPU");
    dtype = stored == at::kBFloat16 ? Dtype::bfloat16 : stored == at::kHalf ? Dtype::float16 : Dtype::float32;
  }
  const auto type = dtype == Dtype::bfloat16 ? at::kBFloat16 : dtype == Dtype::float16 ? at::kHalf : at::kFloat;
  Placement placement{.device = device, .compute = type, .storage = type, .dtype = dtype, .offload = false};
  if (device.is_cpu() && !cpu_has(type)) {
    placement.compute = at::kFloat;
    placement.note = fmt::format("this CPU has no fast {} arithmetic: weights are held in {}, computed with in float32",
                                 to_string(dtype), to_string(dtype));
  }
  return placement;
}

}  // namespace eav
