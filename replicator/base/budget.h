#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

namespace transship {

// Bytes of memory that many may use and nobody may exceed. It never waits: who gets nothing does
// without. Belongs to one loop, and outlives its shares.
class Budget {
 public:
  explicit Budget(std::size_t bytes) : free_(bytes), total_(bytes) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  class Share {
   public:
    Share() = default;
    Share(Budget& budget, std::size_t bytes) : budget_(&budget), bytes_(bytes) {}
    Share(Share&& other) noexcept
        : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Share& operator=(Share&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Share() {
      if (budget_ != nullptr) budget_->free_ += bytes_;
    }
    // Takes more; false, and nothing changes, where there is not so much.
    bool grow(std::size_t bytes) {
      if (budget_ == nullptr || budget_->free_ < bytes) return false;
      budget_->free_ -= bytes;
      bytes_ += bytes;
      return true;
    }
    void shrink(std::size_t bytes) {
      bytes = std::min(bytes, bytes_);
      if (budget_ != nullptr) budget_->free_ += bytes;
      bytes_ -= bytes;
    }
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

   private:
    Budget* budget_ = nullptr;
    std::size_t bytes_ = 0;
  };

  // An empty share, to grow.
  [[nodiscard]] Share share() { return {*this, 0}; }
  [[nodiscard]] std::size_t free() const { return free_; }
  [[nodiscard]] std::size_t total() const { return total_; }

 private:
  std::size_t free_;
  std::size_t total_;
};

}  // namespace transship
