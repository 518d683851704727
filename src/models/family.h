// What a family offers to the pipeline: an opened checkpoint, of which requests make jobs.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "eav/generator.h"
#include "models/job.h"

namespace eav {

class Family {
 public:
  virtual ~Family() = default;

  virtual std::string name() const = 0;  // "LTX-Video"
  // What can be asked of this checkpoint, with its defaults, in place of which stand those of its eav.json.
  virtual std::vector<OptionSpec> options(const Settings& standards) const = 0;
  // Throws eav::Error when a value cannot work, naming values that do. All that is asked for is among options().
  virtual std::unique_ptr<VideoJob> open(Asked asked) const = 0;
  virtual Inspection inspect() const = 0;
  // See Generator::note().
  virtual std::string note() const { return ""; }

  // The parts that work in a phase, the phase's own first.
  virtual std::vector<PartFiles*> parts(Phase phase) = 0;

  // How weights are held in all phases; said before a part is opened.
  void place(const Placement& placement) {
    for (const auto phase : kPhases)
      for (auto* part : parts(phase)) part->place(placement);
  }
  void release(Phase phase) {
    for (auto* part : parts(phase)) part->release();
  }
};

// A family by its Model: a checkpoint's configurations and parts. It has a kFamily, the family's name, and
//   Options options(Asked asked) const;
//   Inspection inspect() const;
//   std::string note() const;  // where there is one
//   std::vector<PartFiles*> parts(Phase phase);
//   static std::unique_ptr<VideoJob> open(std::shared_ptr<Model> model, Asked asked);
template <class Model>
class FamilyOf : public Family {
 public:
  template <class From>
  explicit FamilyOf(const From& from) : model_(std::make_shared<Model>(from)) {}

  std::string name() const override { return Model::kFamily; }
  std::vector<OptionSpec> options(const Settings& standards) const override {
    return model_->options({.standards = standards}).specs();
  }
  std::unique_ptr<VideoJob> open(Asked asked) const override { return Model::open(model_, std::move(asked)); }
  Inspection inspect() const override { return model_->inspect(); }
  std::string note() const override {
    if constexpr (requires { model_->note(); }) return model_->note();
    return "";
  }
  std::vector<PartFiles*> parts(Phase phase) override { return model_->parts(phase); }

 private:
  std::shared_ptr<Model> model_;
};

}  // namespace eav
