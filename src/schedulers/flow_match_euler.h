// Flow matching with Euler steps (diffusers' FlowMatchEulerDiscreteScheduler).
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <string>

#include "schedulers/scheduler.h"
#include "weights/config.h"

namespace eav {

class FlowMatchEulerScheduler : public Scheduler {
 public:
  // Reads scheduler_config.json; `shift`, where given, replaces the file's. Throws eav::Error for another class, and
  // for settings that are not supported.
  explicit FlowMatchEulerScheduler(const JsonFile& config, std::optional<double> shift = std::nullopt);

  // Takes noise levels [steps], from 1 downwards, and shifts them towards 1: by the scheduler's shift, or where it
  // shifts dynamically, by what a video of this many tokens asks for. Throws eav::Error where the number of tokens
  // is needed and not given, or a single step cannot be stretched to the terminal level.
  void set_sigmas(const Tensor& sigmas, std::optional<int64_t> tokens = std::nullopt);
  // Takes timesteps, from the number of steps trained with downwards, instead: the model is told these, while the noise
  // levels that they stand for are shifted. Throws eav::Error where the scheduler shifts dynamically.
  void set_timesteps(const Tensor& timesteps);
  // Takes as many noise levels, evenly from the highest to the lowest of the shifted schedule that was trained with,
  // and shifts them again: what diffusers' scheduler does where a pipeline tells it nothing but a number of steps.
  // Throws eav::Error where the scheduler shifts dynamically.
  void set_steps(int64_t steps);
  // Leaves the first `count` steps out, fewer than there are.
  void skip(int64_t count);

  // Noise levels times the number of steps trained with, [steps] float32.
  const Tensor& timesteps() const override { return timesteps_; }
  const Tensor& sigmas() const { return sigmas_; }  // the steps' noise levels, and 0 [steps + 1]

  // Of float32 latents.
  Tensor step(const Tensor& predicted, int64_t index, const Tensor& latents, at::Generator& generator) override;
  Tensor denoised(const Tensor& predicted, int64_t index, const Tensor& latents) const override;
  // By how much noise levels change [n] from timesteps of any kind [n] float32 to the next lower level of a step.
  Tensor change_from(const Tensor& timesteps) const;

  double shift() const { return shift_; }
  bool shifts_dynamically() const { return dynamic_.has_value(); }

 private:
  // A shift that grows linearly with the tokens of a video.
  struct DynamicShift {
    double base_shift, max_shift;
    int64_t base_image_seq_len, max_image_seq_len;
    bool exponential;
    double shift(int64_t tokens) const;
  };

  std::string name_;  // of the configuration file, for messages
  double shift_;
  int64_t train_steps_;
  std::optional<DynamicShift> dynamic_;
  std::optional<double> shift_terminal_;  // the last noise level, to which the others are stretched
  Tensor sigmas_;                         // [steps + 1] float32, the last one 0
  Tensor timesteps_;                      // [steps]
};

}  // namespace eav
