// Memory of tensors on the CPU that is kept when they are freed, for the next ones of the same size.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>

namespace eav {

// Blocks of whole pages. What is in use and what is kept never exceed what was in use at some time: before more is
// taken from the system, kept blocks go back to it. So a program takes as much memory as its tensors need, and what
// repeats, as the steps of a transformer do, pays for its pages once.
class TensorMemory {
 public:
  ~TensorMemory();

  // Aligned as ATen asks for; null where the system has no more.
  void* allocate(size_t bytes);
  // Whether the block came from here; if so, it is kept.
  bool free(void* block);
  // Gives all that is kept back to the system, and forgets how much was in use.
  void give_back();

  int64_t in_use() const { return in_use_; }
  int64_t kept() const { return kept_; }

 private:
  void give_back_until(int64_t kept);

  std::mutex mutex_;
  std::unordered_map<void*, size_t> blocks_;         // in use
  std::multimap<size_t, void*> kept_blocks_;         // by size
  int64_t in_use_ = 0, kept_ = 0, most_in_use_ = 0;  // bytes
  size_t mapped_ = 0;                                // blocks that were taken from the system
};

// Has ATen take tensors of the CPU from a TensorMemory, in the whole process and from now on.
void keep_memory_of_tensors();
// Gives back what it keeps; nothing where ATen does not take from it.
void give_memory_of_tensors_back();

}  // namespace eav
