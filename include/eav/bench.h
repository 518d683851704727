// How long a checkpoint's videos take on this machine, told without making one.
#pragma once
#include <string>
#include <vector>

#include "eav/generator.h"
#include "eav/progress.h"

namespace [[gnu::visibility("default")]] eav {

// What the machine computes in large products, in 10^9 floating point operations a second.
struct MachineRate {
  std::string type;  // "float32", "bfloat16", or "int8" for blocks that are quantised
  double linear;     // a linear layer, 2048 x 1920 x 7680
  double attention;  // 8 heads of 64 over 4096 tokens, in the type that goes with it
};

// Blocks of one kind, such as HunyuanVideo's dual-stream ones.
struct BlockTime {
  std::string name;  // "transformer_blocks", as the checkpoint calls them
  int64_t count;     // of the model
  double seconds;    // of one of them in one step, at the asked size
};

// A video of the asked size, in one type. Loading is left out.
struct TimeEstimate {
  std::string type;  // as MachineRate's
  std::vector<BlockTime> blocks;
  double step = 0;              // all blocks, and what stands around them
  double text_encoder = 0;      // by one of its blocks; 0 where it was not looked at
  double transformer = 0;       // all steps
  double vae = 0;               // by a small piece, in proportion to pixels; 0 with latents_only
  std::vector<int64_t> tokens;  // of the video, at which blocks were timed: the asked number alone, or smaller ones to
                                // which a + b * tokens was fitted as the time of a token
  double video() const { return text_encoder + transformer + vae; }
  // The same with fewer_steps() (eav/fast.h), where as many steps are left out as of the demo's videos.
  double with_fewer_steps() const;
};

struct BenchReport {
  Request request;  // every field set
  VideoSize size;
  int64_t tokens = 0;  // of the video
  Runtime runtime;
  std::vector<MachineRate> rates;
  std::vector<TimeEstimate> estimates;
  std::string to_json() const;
};

// Times the first block of each kind on the tokens of a video of this size, or of smaller ones where that would take
// more than some seconds, in the runtime's type, or where that is "auto", in each that the device is fast in. Random
// latents go in, so nothing is skipped that a real run would compute. Throws eav::Error as Generator does, and
// Cancelled.
BenchReport bench(const ModelPaths& paths, const Runtime& runtime, const Request& request, Progress& progress);

}  // namespace eav
