// Measures of a video that need no learned model.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace [[gnu::visibility("default")]] eav {

// Where a measure is a mean, it runs over the frames or over the pairs of neighbouring frames, each alike. Brightness
// is the luma of BT.601 (0.299 R + 0.587 G + 0.114 B), 0 to 255; motion is the optical flow of Farnebäck (2003) between
// the brightness of neighbours, in pixels from a frame to the next, good to about 0.05.
struct Measures {
  // VBench's (arXiv 2311.17982): 1 less the mean absolute difference of neighbouring frames, of 255. 0 to 1; 1: nothing
  // changes, which motion does too.
  double temporal_flickering = 0;
  // Lai et al., "Learning Blind Video Temporal Consistency" (2018): the mean squared difference, in colours of 0 to 1,
  // between a frame and the next one warped back by the motion, where it is visible: where the motion there and back
  // agrees (Ruder et al. 2016). 0 and up.
  double warping_error = 0;
  // The warping error, divided by the mean length of the motion in pixels; unset where that is below 0.01.
  std::optional<double> warping_error_to_motion;
  // As VBench's dynamic degree: the mean of the longest 5 % of the motion, in pixels; a mean over pairs instead of a
  // threshold, and of a classical flow instead of a learned one. 0 and up.
  double dynamic_degree = 0;
  // The mean SSIM (see Fidelity) of neighbouring frames' brightness. -1 to 1; 1: nothing changes.
  double temporal_ssim = 0;
  // How far the colours drift away from the first frame's: the Hellinger distance between the histograms of both, in
  // CIE L*a*b*, of 8 bins an axis that share a pixel linearly; the mean over the later frames. It does not see where
  // things are. 0 to 1.
  double subject_drift = 0;
  // The standard deviation of brightness within a frame, of 255 (RMS contrast, Peli 1990). 0 to 0.5.
  double contrast = 0;
  // The variance of the Laplacian of brightness (Pech-Pacheco et al. 2000), and the mean squared gradient by Sobel's
  // operator (Tenengrad): sharpness. 0 and up; noise counts as sharp.
  double laplacian_variance = 0, tenengrad = 0;
  // Hasler and Süsstrunk (2003), for colours of 0 to 255. 0 and up: 15 slightly, 45 averagely, 82 highly colourful.
  double colourfulness = 0;
  // The standard deviation of noise that Immerkær's (1996) estimate finds in brightness, of 255. Fine texture counts.
  double noise = 0;
};

// What is better where all else is equal.
enum class Better { less, more, neither };

// A measure by its name in tables and files.
struct Measure {
  std::string name;   // "temporal_flickering"
  std::string label;  // "temporal flickering"
  Better better;
  int decimals;  // that are worth showing
  std::optional<double> (*of)(const Measures&);
};
// All of them, in the order of Measures.
std::span<const Measure> all_measures();
// Throws eav::Error that lists them where none has this name.
const Measure& measure_named(const std::string& name);

// Measures frames as they come, two of them in memory.
class VideoMeter {
 public:
  VideoMeter();
  ~VideoMeter();
  VideoMeter(const VideoMeter&) = delete;
  VideoMeter& operator=(const VideoMeter&) = delete;

  // The next frame, [H, W, 3] uint8 on the CPU, RGB. Throws eav::Error for a side below 16 pixels.
  void add(const at::Tensor& frame);
  // Of all frames so far. Throws eav::Error for fewer than 2.
  Measures result() const;

 private:
  struct [[gnu::visibility("hidden")]] State;
  std::unique_ptr<State> state_;
};

// Of frames [F, H, W, 3], as VideoMeter measures them.
Measures measure(const at::Tensor& frames);

// How near a video is to a reference.
struct Fidelity {
  double psnr = 0;  // of all colours of all frames, in dB; infinite for equal ones
  // Wang et al. (2004): of brightness, with a Gaussian window of 11x11 (1.5 pixels), K1 0.01 and K2 0.03, the mean over
  // all windows that lie within the frame, and over frames. -1 to 1.
  double ssim = 0;
};

// Compares frames as they come.
class FidelityMeter {
 public:
  // A frame and the reference's, both [H, W, 3] uint8 on the CPU. Throws eav::Error where their sizes differ, and for a
  // side below 16 pixels.
  void add(const at::Tensor& frame, const at::Tensor& reference);
  // Of all frames so far.
  Fidelity result() const;

 private:
  double squares_ = 0;  // the sum over colours
  int64_t colours_ = 0;
  std::vector<double> similar_;  // a frame each
};

// Of frames [F, H, W, 3], as FidelityMeter compares them. Throws eav::Error where their numbers differ too.
Fidelity fidelity(const at::Tensor& frames, const at::Tensor& reference);

}  // namespace eav
