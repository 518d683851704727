// What the stand-in device was asked to do, and what of it a test sets by environment variables.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace fake_device {

// Written as JSON, when the process ends, to the file that EAV_FAKE_DEVICE_COUNTERS names.
class Counters {
 public:
  ~Counters();

  void launched(const std::string& kernel);
  void synchronized(const std::string& why);
  // `prepared`: the host converted or gathered the elements first; `pinned`: nothing waits for the copy.
  void copied_to_device(int64_t bytes, bool prepared, bool pinned);
  void copied_to_host(int64_t bytes);
  void recorded_event();
  void waited_for_event();  // a stream, not the host
  void converted_layout();  // of a convolution's input or weight, which have channels last no more
  void allocated(int64_t bytes);
  void freed(int64_t bytes);
  int64_t in_use() const;  // bytes

 private:
  void add(const std::string& name, int64_t amount = 1);

  mutable std::mutex mutex_;
  std::map<std::string, int64_t> totals_, kernels_, synchronizations_;
  int64_t in_use_ = 0, peak_ = 0;
};
Counters& counters();

// Bytes that the device has: EAV_FAKE_DEVICE_CAPACITY, or 64 GiB.
int64_t capacity();

// What it says that it has: EAV_FAKE_DEVICE_REPORTED, or its capacity. As where other programs take memory as well.
int64_t reported_capacity();

// EAV_FAKE_DEVICE_COUNT_ONLY: kernels give results of the right shapes and compute nothing.
bool counts_only();

}  // namespace fake_device
