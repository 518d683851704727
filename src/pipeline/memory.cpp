#include "pipeline/memory.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <fstream>
#include <limits>

#include "base/meta_memory.h"
#include "base/tensor_memory.h"
#include "base/torch_error.h"
#include "eav/error.h"
#include "eav/human.h"
#include "weights/placement.h"

namespace eav {
namespace {

// The number in the first line of a file; unlimited where there is none ("max", or no such file).
int64_t number_in(const std::filesystem::path& file) {
  std::ifstream in(file);
  int64_t value = 0;
  return in >> value ? value : std::numeric_limits<int64_t>::max();
}

// The number behind a name in a file of such lines; `otherwise` where there is none.
int64_t number_after(const std::filesystem::path& file, const std::string& wanted, int64_t otherwise) {
  std::ifstream in(file);
  std::string name;
  int64_t value = 0;
  while (in >> name >> value) {
    if (name == wanted) return value;
    in.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return otherwise;
}

// What a version of control groups calls its files.
struct GroupFiles {
  const char *limit, *used, *cached;  // the last is the name of a line of memory.stat
};
constexpr GroupFiles kVersion1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
constexpr GroupFiles kVersion2{"memory.max", "memory.current", "inactive_file"};

// What is left in the group at `root`/`group` and in all above it, which hold it too. In a container, `group` may be a
// path of the system outside: then its own group is the root.
int64_t left_in_group(const std::filesystem::path& root, std::filesystem::path group, const GroupFiles& files) {
  auto left = std::numeric_limits<int64_t>::max();
  for (bool at_root = false; !at_root; group = group.parent_path()) {
    at_root = group.empty();
    const auto folder = root / group;
    const auto limit = number_in(folder / files.limit);
    if (limit == std::numeric_limits<int64_t>::max()) continue;
    // Cached files count as used in a control group, but yield to whoever needs memory.
    const auto used = number_in(folder / files.used) - number_after(folder / "memory.stat", files.cached, 0);
    left = std::min(left, std::max<int64_t>(limit - used, 0));
  }
  return left;
}

// Of a device that is no CPU. What PyTorch keeps there for later is free: it gives it back before it runs out.
int64_t free_on(at::Device device) {
  try {
    auto& allocator = *c10::getDeviceAllocator(device.type());
    const auto free = static_cast<int64_t>(allocator.getMemoryInfo(device.index()).first);
    if (!allocator.initialized()) return free;
    const auto stats = allocator.getDeviceStats(device.index());
    return free + std::max<int64_t>(stats.reserved_bytes[0].current - stats.allocated_bytes[0].current, 0);
  } catch (const c10::Error& error) {
    throw Error(fmt::format("the device {} does not work: {}", device.str(), first_line(error)));
  }
}

}  // namespace

int64_t left_in_control_groups(const std::filesystem::path& root, const std::filesystem::path& own) {
  auto left = std::min(left_in_group(root, "", kVersion2), left_in_group(root / "memory", "", kVersion1));
  std::ifstream in(own);
  // "0::/user.slice" of version 2, "7:cpu,memory:/docker/0123" of version 1
  for (std::string line; std::getline(in, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const auto controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const auto group = std::filesystem::path(line.substr(second + 1)).relative_path();
    if (controllers == ",,") left = std::min(left, left_in_group(root, group, kVersion2));
    if (controllers.find(",memory,") != std::string::npos)
      left = std::min(left, left_in_group(root / "memory", group, kVersion1));
  }
  return left;
}

int64_t available_memory(at::Device device) {
  if (!device.is_cpu()) return free_on(device);
  const int64_t unlimited = std::numeric_limits<int64_t>::max();
  const int64_t in_system = number_after("/proc/meminfo", "MemAvailable:", unlimited / 1024) * 1024;
  return std::min(in_system, left_in_control_groups());
}

int64_t available_memory(const std::string& device) { return available_memory(parse_device(device)); }

void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int kLargest = 64 << 20;  // of the scratch memory of kernels, which is kept as well
  mallopt(M_MMAP_THRESHOLD, kLargest);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
  keep_memory_of_tensors();
}

void give_freed_memory_back() {
  give_memory_of_tensors_back();
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

MemoryPlan plan_memory(const VideoJob& job, const Placement& placement, int64_t enough) {
  const c10::InferenceMode no_autograd;
  MetaMemory memory(placement.device);
  const auto rehearsal = job.rehearsal(placement);
  Progress progress;
  Denoised denoised;
  const auto measure = [&](Phase phase, const std::function<void()>& work) {
    constexpr int64_t kBeyond = int64_t{1} << 60;  // no machine has it
    memory.start_counting();
    try {
      work();
    } catch (const c10::Error&) {  // of sizes whose product is no number any more
      return MemoryPlan::Phase{.activations = kBeyond};
    }
    MemoryPlan::Phase planned;
    for (auto* part : rehearsal->parts(phase)) {
      if (part->is_open()) planned.weights += part->held_bytes();
      part->release();
    }
    planned.weights = std::min(planned.weights, memory.peak());  // where parts follow one another
    planned.activations = memory.peak() - planned.weights;
    return planned;
  };
  MemoryPlan plan;
  plan.text_encoder = measure(Phase::text_encoder, [&] { rehearsal->encode(progress); });
  if (plan.text_encoder.total() > enough) return plan;
  plan.transformer = measure(Phase::transformer, [&] { denoised = rehearsal->denoise(progress, {}, {}); });
  if (plan.transformer.total() <= enough && !job.options().latents_only)
    plan.vae = measure(Phase::vae, [&] { rehearsal->decode(denoised, progress); });
  return plan;
}

void check_fits(const MemoryPlan& plan, at::Device device, const std::function<std::string()>& advice) {
  const int64_t available = available_memory(device);
  const auto check = [&](const char* name, const MemoryPlan::Phase& phase) {
    if (phase.total() > available)
      throw Error(fmt::format("the {} needs {} of memory ({} of weights, {} to work with), {} is available: {}", name,
                              human_size(phase.total()), human_size(phase.weights), human_size(phase.activations),
                              human_size(available), advice()));
  };
  check("text encoder", plan.text_encoder);
  check("transformer", plan.transformer);
  if (plan.vae) check("vae", *plan.vae);
}

}  // namespace eav
