// What every model family offers to the generation loop (pipeline/generator.cpp).
#pragma once
#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "eav/generator.h"
#include "weights/placement.h"

namespace eav {
using at::Tensor;

// A prompt after the text encoders: the tensors that the family's denoise() takes, in its own order.
using Conditioning = std::vector<Tensor>;

class Family {
 public:
  virtual ~Family() = default;

  // See Generator's functions of the same names.
  virtual Request resolve(const Request& request) const = 0;
  virtual void check_complete(const Request&) const {}
  virtual MemoryPlan plan(const Request& request, const Placement& placement) const = 0;
  virtual VideoSize video_size(const Request& request) const {
    return {*request.frames, *request.height, *request.width};
  }
  // Whether the VAE can decode in tiles.
  virtual bool can_tile() const { return true; }
  virtual Grid grid(const Request& request) const = 0;
  virtual Inspection inspect() const = 0;

  // How weights and computation are placed; set once, before anything is loaded.
  void place(Placement placement) { placement_ = std::move(placement); }
  const Placement& placement() const { return placement_; }

  // The three phases of a video. Each loads what it needs at its first call; a request is resolved.
  virtual Conditioning encode(const Request& request, Progress& progress) = 0;
  virtual Tensor denoise(const Request& request, const Conditioning& conditioning, Progress& progress,
                         Trace& trace) = 0;
  // Of latents as denoise() returns them, those whose frames the video shows.
  virtual Tensor shown_latents(const Tensor& latents) const { return latents; }
  // Latents as denoise() returns them -> [frames, height, width, 3] uint8 on the CPU.
  virtual Tensor decode(const Request& request, const Tensor& latents, Progress& progress) = 0;

  // Give the memory of a phase back.
  virtual void release_text_encoder() = 0;
  virtual void release_transformer() = 0;
  virtual void release_vae() = 0;

 private:
  Placement placement_;
};

}  // namespace eav
