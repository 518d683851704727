#include "eav/fast.h"

#include "weights/int8.h"
#include "weights/placement.h"

namespace eav {

Runtime fastest(Runtime runtime) {
  if (!parse_device(runtime.device).is_cpu()) return runtime;
  if (cpu_has(at::kBFloat16)) set_dtypes(runtime, "bfloat16,vae=float32");
  if (int8_is_fast()) runtime.quantize = Quantize::int8;
  return runtime;
}

const Settings& fewer_steps() {
  static const Settings settings{{"cache", std::string("easy")}, {"cache_threshold", 0.15}};
  return settings;
}

}  // namespace eav
