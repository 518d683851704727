// CogVideoX's two samplers: DDIM and DPM-Solver++ (2M, stochastic), as diffusers' CogVideoXDDIMScheduler and
// CogVideoXDPMScheduler compute them, their oddities included.
#pragma once
#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "weights/config.h"

namespace eav {
using at::Tensor;

class CogVideoXScheduler {
 public:
  enum class Kind { ddim, dpm };

  // Reads scheduler_config.json; `kind` chooses the sampler whatever class the file names.
  CogVideoXScheduler(const JsonFile& config, Kind kind);
  // The sampler that a configuration's _class_name names. Throws eav::Error that lists the known ones.
  static Kind kind_of(const JsonFile& config);
  // "ddim" or "dpm"; throws eav::Error that lists them.
  static Kind parse_kind(const std::string& name);

  // Chooses `steps` timesteps (1 to the number trained with) and forgets the last video's history.
  void set_timesteps(int64_t steps);
  const std::vector<int64_t>& timesteps() const { return timesteps_; }

  // The latents of the next step, from those of step `index` and the model's output for them (float32).
  // DPM draws its noise from `generator`, shaped as the latents.
  Tensor step(const Tensor& model_output, size_t index, const Tensor& latents, at::Generator& generator);

 private:
  Tensor ddim_step(const Tensor& denoised, const Tensor& latents, const Tensor& alpha, const Tensor& alpha_prev) const;

  std::string name_;  // of the configuration file, for messages
  Kind kind_;
  int64_t train_steps_;
  std::string prediction_type_, timestep_spacing_;
  int64_t steps_offset_;
  Tensor alphas_cumprod_;  // [train_steps]; float64 or float32, as the reference holds it
  Tensor final_alpha_;     // scalar
  std::vector<int64_t> timesteps_;
  int64_t steps_ = 0;
  Tensor last_denoised_;  // DPM: of the step before
};

}  // namespace eav
