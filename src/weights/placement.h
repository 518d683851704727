// Chooses where weights lie and the type that a model computes in.
#pragma once
#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <string>

#include "eav/request.h"
#include "weights/weights.h"

namespace eav {

struct Placement {
  at::Device device = at::kCPU;
  at::ScalarType compute = at::kFloat;  // the type of activations, hence of the arithmetic
  at::ScalarType storage = at::kFloat;  // the type that weights are held in; converted layer by layer where it differs
  Dtype dtype = Dtype::float32;         // what was asked for, "auto" resolved
  bool offload = false;                 // blocks are loaded when they are used
  bool together = false;                // parts that take turns within a phase all stay in memory
  std::string note = {};                // why it is otherwise than asked for; empty when as asked

  bool by_stored = false;                                  // parts compute in the 16-bit type that each is stored in
  std::map<std::string, Dtype> of_parts = {};              // asked for, by the names of parts
  Quantize quantize = Quantize::none;                      // of blocks' matrices
  std::map<std::string, Quantize> quantize_of_parts = {};  // asked for, by the names of parts
  bool on_cpu = true;                                      // also where `device` is the one of a plan
  std::shared_ptr<BlockProbe> probe = {};                  // of models that are only measured

  LoadPolicy policy() const {
    return {.dtype = storage, .device = device, .offload = offload, .quantize = quantize, .probe = probe};
  }
  // The same in another type.
  Placement in(Dtype other) const;
};

// The type that "auto" means off the CPU for weights that are stored in another.
Dtype dtype_of_stored(at::ScalarType stored);

// "cpu", "cuda" or "cuda:N", or a device that a library registers with PyTorch (PrivateUse1), by its name. Throws
// eav::Error when the device is not there.
at::Device parse_device(const std::string& name);

// On a CPU without instructions for a 16-bit type, weights are held in that type and the arithmetic is float32's.
// `stored` is the checkpoint's own type: what "auto" means on CUDA, where float32 becomes bfloat16.
Placement place(Dtype dtype, at::Device device, at::ScalarType stored);

// Whether this CPU multiplies matrices of that type at least as fast as float32's.
bool cpu_has(at::ScalarType type);

}  // namespace eav
