// What a family offers to the pipeline: an opened checkpoint, of which requests make jobs.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "eav/generator.h"
#include "models/job.h"
#include "weights/part.h"

namespace eav {

// The phases of a video follow one another; each has parts of its own in memory.
enum class Phase { text_encoder, transformer, vae };

class Family {
 public:
  virtual ~Family() = default;

  virtual std::string name() const = 0;  // "LTX-Video"
  // What can be asked of this checkpoint, with its defaults, in place of which stand those of its eav.json.
  virtual std::vector<OptionSpec> options(const Settings& standards) const = 0;
  // Throws eav::Error when a value cannot work, naming values that do. All that is asked for is among options().
  virtual std::unique_ptr<VideoJob> open(Asked asked) const = 0;
  virtual Inspection inspect() const = 0;

  // The parts that work in a phase, the phase's own first.
  virtual std::vector<PartFiles*> parts(Phase phase) = 0;

  // How weights are held in all phases; said before a part is opened.
  void place(const Placement& placement) {
    for (const auto phase : {Phase::text_encoder, Phase::transformer, Phase::vae})
      for (auto* part : parts(phase)) part->place(placement);
  }
  void release(Phase phase) {
    for (auto* part : parts(phase)) part->release();
  }
};

}  // namespace eav
