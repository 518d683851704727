#include "weights/placement.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/DeviceType.h>
#include <fmt/format.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "eav/error.h"

namespace eav {

at::Device parse_device(const std::string& given) {
  if (given == "cpu") return at::kCPU;
  const auto name = given.substr(0, given.find(':'));
  const auto number = given.substr(name.size());  // ":0", or nothing
  const bool of_one = number.empty() || (number.size() > 1 && number.size() < 4 &&
                                         number.find_first_not_of("0123456789", 1) == std::string::npos);
  const bool other = c10::is_privateuse1_backend_registered() && name == c10::get_privateuse1_backend();
  if (!of_one || !(name == "cuda" || other))
    throw Error(fmt::format("the device \"{}\" is unknown: choose cpu, cuda or cuda:N", given));
  const auto not_there = [&](const std::string& why) {
    return Error(fmt::format("the device \"{}\" is not there: {}", given, why));
  };
  if (!other && !at::CUDAHooksRegistry()->Has("CUDAHooks"))
    throw not_there("this build of PyTorch has no CUDA; choose cpu, or install one that has (EAV_TORCH names it)");
  if (!other && !at::hasCUDA())
    throw not_there("no CUDA device was found; choose cpu, or see that nvidia-smi lists one");
  const auto type = other ? at::kPrivateUse1 : at::kCUDA;
  const auto count = at::globalContext().getAcceleratorHooksInterface(type).deviceCount();
  const int index = number.empty() ? 0 : std::stoi(number.substr(1));
  if (index >= count) throw not_there(fmt::format("{} such device(s) were found", count));
  return at::Device(type, static_cast<c10::DeviceIndex>(index));
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

Dtype dtype_of_stored(at::ScalarType stored) { return stored == at::kHalf ? Dtype::float16 : Dtype::bfloat16; }

Placement Placement::in(Dtype other) const {
  auto placement = *this;
  const auto type = other == Dtype::bfloat16 ? at::kBFloat16 : other == Dtype::float16 ? at::kHalf : at::kFloat;
  placement.compute = placement.storage = type;
  placement.dtype = other;
  if (on_cpu && !cpu_has(type)) {
    placement.compute = at::kFloat;
    placement.note = fmt::format("this CPU has no fast {} arithmetic: weights are held in {}, computed with in float32",
                                 to_string(other), to_string(other));
  }
  return placement;
}

Placement place(Dtype dtype, at::Device device, at::ScalarType stored) {
  if (dtype == Dtype::automatic && device.is_cpu())
    throw Error("internal: \"auto\" is resolved by the memory at hand on a CPU");
  const Placement there{.device = device, .on_cpu = device.is_cpu()};
  if (dtype != Dtype::automatic) return there.in(dtype);
  auto placement = there.in(dtype_of_stored(stored));
  placement.by_stored = true;
  if (stored == at::kFloat)
    placement.note =
        "the model is stored in float32 and computes in bfloat16: `dtype` float32 is more exact, and slower";
  return placement;
}

}  // namespace eav
