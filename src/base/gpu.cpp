#include "base/gpu.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <vector>

namespace eav {
namespace {

// A function of a library of NVIDIA's driver, which is there where a GPU is; null where it is not.
template <class Function>
Function* find(const char* library, const char* name) {
  auto* const opened = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);  // kept: PyTorch has it open too
  return opened == nullptr ? nullptr : reinterpret_cast<Function*>(::dlsym(opened, name));
}

using Text = std::array<char, 128>;

std::string name_of(int index) {
  auto* const get = find<int(int*, int)>("libcuda.so.1", "cuDeviceGet");
  auto* const get_name = find<int(char*, int, int)>("libcuda.so.1", "cuDeviceGetName");
  Text name{};
  int found = 0;
  if (get == nullptr || get_name == nullptr || get(&found, index) != 0 ||
      get_name(name.data(), name.size(), found) != 0)
    return "";
  return name.data();
}

std::string driver_version() {
  const char* const library = "libnvidia-ml.so.1";
  auto* const init = find<int()>(library, "nvmlInit_v2");
  auto* const get = find<int(char*, unsigned)>(library, "nvmlSystemGetDriverVersion");
  Text version{};
  if (init == nullptr || get == nullptr || init() != 0 || get(version.data(), version.size()) != 0) return "";
  return version.data();
}

}  // namespace

std::string describe_gpu(c10::Device device) {
  if (!device.is_cuda()) return "";
  std::vector<std::string> parts;
  if (const auto name = name_of(device.index()); !name.empty()) parts.push_back(name);
  if (const auto driver = driver_version(); !driver.empty()) parts.push_back("driver " + driver);
  const auto cuda = at::detail::getCUDAHooks().versionCUDART();  // 13000
  parts.push_back(fmt::format("CUDA {}.{}", cuda / 1000, cuda % 1000 / 10));
  return fmt::format("{}", fmt::join(parts, ", "));
}

void wait_for(c10::Device device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

}  // namespace eav
