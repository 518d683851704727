#include "schedulers/unipc.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "weights/limits.h"

namespace eav {
namespace {

constexpr double kBelowOne = 1e-6;  // by which the first noise level is lower: at 1 its logarithm is infinite

// log(alpha / sigma), half the logarithm of the ratio of signal and noise; of a scalar in float32, as the reference has
// it.
Tensor half_log_snr(const Tensor& sigma) { return at::log(1 - sigma) - at::log(sigma); }

}  // namespace

UniPcScheduler::UniPcScheduler(const JsonFile& config, std::optional<double> shift, int64_t steps)
    : shift_(shift ? *shift : config.get<double>("flow_shift", 1)),
      solver_order_(config.count("solver_order", 2)),
      lower_order_final_(config.get<bool>("lower_order_final", true)) {
  const auto fail = [&](const std::string& what) { return Error(config.path().string() + ": " + what); };
  const auto choice = [&](const char* field, const std::string& standard, std::vector<std::string> supported) {
    const auto value = config.get<std::string>(field, standard);
    if (std::ranges::find(supported, value) == supported.end())
      throw fail(fmt::format(
          "\"{}\" is \"{}\"; supported {}", field, value,
          supported.size() == 1 ? "is " + supported[0] : fmt::format("are {} and {}", supported[0], supported[1])));
    return value;
  };
  if (const auto name = config.get<std::string>("_class_name"); name != "UniPCMultistepScheduler")
    throw fail(fmt::format("the scheduler is {}, expected UniPCMultistepScheduler", name));
  choice("prediction_type", "epsilon", {"flow_prediction"});
  if (!config.get<bool>("use_flow_sigmas", false)) throw fail("\"use_flow_sigmas\" is false, which is not supported");
  if (!config.get<bool>("predict_x0", true)) throw fail("\"predict_x0\" is false, which is not supported");
  for (const auto* setting :
       {"thresholding", "use_dynamic_shifting", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"})
    if (config.get<bool>(setting, false)) throw fail(fmt::format("\"{}\" is not supported", setting));
  for (const auto* setting : {"solver_p", "shift_terminal"})
    if (config.has(setting)) throw fail(fmt::format("\"{}\" is not supported", setting));
  if (!config.get<std::vector<int64_t>>("disable_corrector", {}).empty())
    throw fail("\"disable_corrector\" is not supported");
  bh2_ = choice("solver_type", "bh2", {"bh1", "bh2"}) == "bh2";
  const bool to_zero = choice("final_sigmas_type", "zero", {"zero", "sigma_min"}) == "zero";
  const auto train_steps = count_up_to(1'000'000, config, "num_train_timesteps", 1000);
  if (solver_order_ > 3) throw fail(fmt::format("\"solver_order\" is {}, supported are 1 to 3", solver_order_));
  if (!std::isfinite(shift_) || shift_ <= 0)
    throw fail(fmt::format("the shift is {}, expected a number above 0", shift_));
  // Where the last step's formula divides by zero or infinity.
  if (to_zero && !bh2_)
    throw fail("\"solver_type\" bh1 gives no numbers where \"final_sigmas_type\" is zero: bh2 does");
  if (!lower_order_final_ && solver_order_ >= (to_zero ? 2 : 3))
    throw fail(fmt::format("order {} gives no numbers where \"lower_order_final\" is false: true does", solver_order_));

  // From 1 down to the lowest level trained with, which is left out, and shifted; in the reference's order.
  const auto lowest = 1 / static_cast<double>(train_steps), each = (lowest - 1) / static_cast<double>(steps);
  std::vector<double> sigmas;
  std::vector<int64_t> timesteps;
  for (int64_t i = 0; i < steps; ++i) {
    const auto level = static_cast<double>(i) * each + 1;
    auto sigma = shift_ * level / (1 + (shift_ - 1) * level);
    if (i == 0 && std::abs(sigma - 1) < kBelowOne) sigma -= kBelowOne;
    sigmas.push_back(sigma);
    timesteps.push_back(static_cast<int64_t>(sigma * static_cast<double>(train_steps)));
  }
  sigmas.push_back(to_zero ? 0 : sigmas.back());
  timesteps_ = at::tensor(timesteps, at::kLong);
  sigmas_ = at::tensor(sigmas, at::kDouble).to(at::kFloat);
}

void UniPcScheduler::skip(int64_t count) {
  timesteps_ = timesteps_.slice(0, count);
  sigmas_ = sigmas_.slice(0, count);
}

int64_t UniPcScheduler::order(int64_t index) const {
  const auto most = lower_order_final_ ? std::min(solver_order_, steps() - index) : solver_order_;
  return std::min(most, index + 1);
}

Tensor UniPcScheduler::denoised(const Tensor& velocity, int64_t index, const Tensor& latents) const {
  return latents - sigmas_[index] * velocity;
}

// What leads from latents at one noise level to those at the next: a * latents - b * (what is predicted there), less
// B * (a sum of differences between what was predicted before and there, and where it corrects, at the end).
struct UniPcScheduler::Update {
  Tensor a, b, B;                 // scalars
  std::vector<Tensor> distances;  // of the predictions before, in steps of the logarithmic level
  Tensor R, rhs;                  // the linear system whose solution weights the differences, [order, order], [order]

  // The sum of the differences to the predictions before, `predicted` of which the latest comes first.
  Tensor differences(const std::deque<Tensor>& predicted, const Tensor& weights) const {
    auto sum = at::zeros_like(predicted[0]);
    for (size_t i = 0; i < distances.size(); ++i)
      sum = sum + weights[static_cast<int64_t>(i)] * ((predicted[i + 1] - predicted[0]) / distances[i]);
    return sum;
  }
};

UniPcScheduler::Update UniPcScheduler::update(int64_t from, int64_t order) const {
  const auto level = [&](int64_t i) { return half_log_snr(sigmas_[i]); };
  const auto h = level(from + 1) - level(from), hh = -h, h_phi_1 = at::expm1(hh);
  const auto alpha = 1 - sigmas_[from + 1];
  const auto B = bh2_ ? h_phi_1 : hh;
  Update update{sigmas_[from + 1] / sigmas_[from], alpha * h_phi_1, alpha * B, {}, {}, {}};
  for (int64_t i = 1; i < order; ++i) update.distances.push_back((level(from - i) - level(from)) / h);

  auto points = update.distances;
  points.push_back(at::ones({}));
  const auto all = at::stack(points);  // [order]
  std::vector<Tensor> rows, rhs;
  auto h_phi_k = h_phi_1 / hh - 1;
  for (int64_t i = 1, factorial = 1; i <= order; ++i) {
    rows.push_back(at::pow(all, i - 1));
    rhs.push_back(h_phi_k * factorial / B);
    factorial *= i + 1;
    h_phi_k = h_phi_k / hh - 1 / static_cast<double>(factorial);
  }
  update.R = at::stack(rows);
  update.rhs = at::stack(rhs);
  return update;
}

Tensor UniPcScheduler::step(const Tensor& velocity, int64_t index, const Tensor& latents,
                            at::Generator& /*generator*/) {
  const auto solve = [](const Tensor& matrix, const Tensor& right) { return at::linalg_solve(matrix, right); };
  const auto half = at::full({1}, 0.5);  // what the systems of the lowest orders give, nearly
  const auto now = denoised(velocity, index, latents);
  auto corrected = latents;
  if (index > 0) {
    const auto u = update(index - 1, order(index - 1));
    const auto weights = u.distances.empty() ? half : solve(u.R, u.rhs);
    const auto differences = u.differences(denoised_, weights) + weights[-1] * (now - denoised_[0]);
    corrected = u.a * last_ - u.b * denoised_[0] - u.B * differences;
  }
  denoised_.push_front(now);
  if (std::ssize(denoised_) > solver_order_) denoised_.pop_back();
  last_ = corrected;

  const auto u = update(index, order(index));
  auto next = u.a * corrected - u.b * now;
  if (u.distances.empty()) return next;
  const auto known = std::ssize(u.distances);
  const auto weights = known == 1 ? half : solve(u.R.slice(0, 0, known).slice(1, 0, known), u.rhs.slice(0, 0, known));
  return next - u.B * u.differences(denoised_, weights);
}

SavedState UniPcScheduler::save() const {
  SavedState state;
  if (denoised_.empty()) return state;
  state.tensors["last"] = last_;
  state.tensors["denoised"] = at::stack(std::vector<Tensor>(denoised_.begin(), denoised_.end()));
  return state;
}

void UniPcScheduler::load(const SavedState& state, const Tensor& latents) {
  denoised_.clear();
  if (state.tensors.empty()) return;
  last_ = state.like("last", latents);
  const auto& saved = state.tensor("denoised");
  if (saved.dim() != latents.dim() + 1 || saved.size(0) < 1 || saved.size(0) > solver_order_)
    throw Error("the state to go on from has a malformed \"denoised\"");
  auto shape = latents.sizes().vec();
  shape.insert(shape.begin(), saved.size(0));
  for (const auto& one : state.like("denoised", at::empty(shape, latents.options())).unbind()) denoised_.push_back(one);
}

}  // namespace eav
