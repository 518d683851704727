// CogVideoX's two samplers: DDIM and DPM-Solver++ (2M, stochastic), as diffusers' CogVideoXDDIMScheduler and
// CogVideoXDPMScheduler compute them, their oddities included.
#pragma once
#include <ATen/ATen.h>

#include <string>

#include "schedulers/scheduler.h"
#include "weights/config.h"

namespace eav {

class CogVideoXScheduler : public Scheduler {
 public:
  enum class Kind { ddim, dpm };

  // Reads scheduler_config.json; `kind` chooses the sampler whatever class the file names. Chooses `steps` timesteps (1
  // to the number trained with). Throws eav::Error.
  CogVideoXScheduler(const JsonFile& config, Kind kind, int64_t steps);
  // The sampler that a configuration's _class_name names. Throws eav::Error that lists the known ones.
  static Kind kind_of(const JsonFile& config);
  // "ddim" or "dpm"; throws eav::Error that lists them.
  static Kind parse_kind(const std::string& name);

  const Tensor& timesteps() const override { return timesteps_; }  // int64

  // Of float32 predictions. DPM draws noise, twice a step where it corrects by the step before.
  Tensor step(const Tensor& predicted, int64_t index, const Tensor& latents, at::Generator& generator) override;
  Tensor denoised(const Tensor& predicted, int64_t index, const Tensor& latents) const override;

  SavedState save() const override;
  void load(const SavedState& state, const Tensor& latents) override;

 private:
  void set_timesteps(int64_t steps);
  int64_t timestep(int64_t index) const { return timesteps_.const_data_ptr<int64_t>()[index]; }
  Tensor ddim_step(const Tensor& denoised, const Tensor& latents, const Tensor& alpha, const Tensor& alpha_prev) const;

  std::string name_;  // of the configuration file, for messages
  Kind kind_;
  int64_t train_steps_;
  std::string prediction_type_, timestep_spacing_;
  int64_t steps_offset_;
  Tensor alphas_cumprod_;  // [train_steps]; float64 or float32, as the reference holds it
  Tensor final_alpha_;     // scalar
  Tensor timesteps_;       // [steps]
  Tensor last_denoised_;   // DPM: of the step before
};

}  // namespace eav
