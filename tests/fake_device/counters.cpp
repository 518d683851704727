#include "counters.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

namespace fake_device {

Counters::~Counters() {
  const auto* file = std::getenv("EAV_FAKE_DEVICE_COUNTERS");
  if (file == nullptr || (kernels_.empty() && totals_.empty())) return;  // a process beside the program
  nlohmann::json all{{"peak", peak_}, {"by_kernel", kernels_}, {"by_synchronization", synchronizations_}};
  for (const auto* name :
       {"kernels", "synchronizations", "copies_to_device", "bytes_to_device", "prepared_on_host", "pinned_copies",
        "copies_to_host", "bytes_to_host", "events", "event_waits", "converted_layouts"})
    all[name] = totals_[name];
  std::ofstream(file) << all.dump(1) << '\n';
}

void Counters::add(const std::string& name, int64_t amount) { totals_[name] += amount; }

void Counters::launched(const std::string& kernel) {
  const std::lock_guard lock(mutex_);
  add("kernels");
  ++kernels_[kernel];
}

void Counters::synchronized(const std::string& why) {
  const std::lock_guard lock(mutex_);
  add("synchronizations");
  ++synchronizations_[why];
}

void Counters::copied_to_device(int64_t bytes, bool prepared, bool pinned) {
  const std::lock_guard lock(mutex_);
  add("copies_to_device");
  add("bytes_to_device", bytes);
  if (prepared) add("prepared_on_host");
  if (pinned) add("pinned_copies");
}

void Counters::copied_to_host(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  add("copies_to_host");
  add("bytes_to_host", bytes);
}

void Counters::recorded_event() {
  const std::lock_guard lock(mutex_);
  add("events");
}

void Counters::waited_for_event() {
  const std::lock_guard lock(mutex_);
  add("event_waits");
}

void Counters::converted_layout() {
  const std::lock_guard lock(mutex_);
  add("converted_layouts");
}

void Counters::allocated(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  in_use_ += bytes;
  peak_ = std::max(peak_, in_use_);
}

void Counters::freed(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  in_use_ -= bytes;
}

int64_t Counters::in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

Counters& counters() {
  static Counters of_process;
  return of_process;
}

namespace {

int64_t bytes_of(const char* variable, int64_t otherwise) {
  const auto* given = std::getenv(variable);
  return given == nullptr ? otherwise : std::stoll(given);
}

}  // namespace

int64_t capacity() {
  static const auto bytes = bytes_of("EAV_FAKE_DEVICE_CAPACITY", int64_t{64} << 30);
  return bytes;
}

int64_t reported_capacity() {
  static const auto bytes = bytes_of("EAV_FAKE_DEVICE_REPORTED", capacity());
  return bytes;
}

bool counts_only() {
  static const bool only = std::getenv("EAV_FAKE_DEVICE_COUNT_ONLY") != nullptr;
  return only;
}

}  // namespace fake_device
