// The memory that work would take, without doing it: tensors on the meta device have shapes and types and nothing in
// them, and are counted here as if they had.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>
#include <memory>

namespace eav {

// While it lives, the meta tensors that this thread makes are counted. One at a time for each thread. More than 2^60
// bytes of them end in a c10::Error.
class MetaMemory {
 public:
  // `device` is the one that the tensors stand for.
  explicit MetaMemory(at::Device device);
  ~MetaMemory();
  MetaMemory(const MetaMemory&) = delete;
  MetaMemory& operator=(const MetaMemory&) = delete;

  // The most bytes at a time since counting started.
  int64_t peak() const;
  void start_counting();

  struct Count;

 private:
  std::shared_ptr<Count> count_;
};

// Whether the CPU computes with it, and with its kernels: it lies there, or stands for a tensor that does.
bool is_for_cpu(const at::Tensor& tensor);
// Whether kernels for two types read and write it: so, and contiguous, in float32 or bfloat16.
bool kernels_take(const at::Tensor& tensor);

}  // namespace eav
