// Steps on the device: a kernel that puts a step's own numbers into the arena, graphs of whole steps, and chunks of
// them that the device works through while the host scores the one before.
#pragma once

#include <string.h>

#include "launch.cuh"

// The lists of trainer.cu.
void step_forward();
void step_learn();
void step_evaluate();

struct Feed;

// Trains steps [first, end) of a phase of n_samples samples by one launch, where resident_fits this device.
bool resident_fits();
void step_resident(const Feed& feed, uint32_t first, uint32_t end, uint32_t n_samples);

// What a step needs besides its samples; written by phase.asm.
struct StepRow {
    uint64_t head[2];   // of the loss block: 1 / samples present, samples present
    uint64_t hyper[3];  // of which float32 fills one and a half
    uint64_t random[2];  // the seed, and which step this is, of all epochs
    uint64_t unused;
};

// Where the steps of a phase find their numbers and leave their results, on the device.
struct Feed {
    const StepRow* rows;
    const uint32_t* order;  // samples of the phase
    const uint8_t* labels;  // of all samples
    uint32_t* step;         // how many have begun
    uint32_t* results;      // losses and predictions of every step
};

constexpr int feed_threads = 256;

// Keeps what the loss kernel wrote in step `*feed.step` - 1.
__device__ inline void keep_results(const Feed& feed, const uint32_t* losses, uint32_t step, uint32_t result_words)
{
    if (step == 0) return;
    uint32_t* target = feed.results + static_cast<size_t>(step - 1) * result_words;
    for (uint32_t i = threadIdx.x; i < result_words; i += feed_threads) target[i] = losses[i];
}

// The first kernel of a step, one block: keeps the results of the step before, then fetches this one's numbers.
// Absent samples repeat the image of the first with label 0; the loss kernel lets them add nothing.
__global__ void step_begin(Feed feed, uint8_t* arena, uint64_t indices_at, uint64_t labels_at, uint64_t loss_at,
                           uint64_t losses_at, uint64_t hyper_at, uint32_t batch, uint32_t hyper_words,
                           uint32_t result_words)
{
    const uint32_t step = *feed.step;
    keep_results(feed, reinterpret_cast<const uint32_t*>(arena + losses_at), step, result_words);
    const StepRow& row = feed.rows[step];
    const uint32_t* samples = feed.order + static_cast<size_t>(step) * batch;
    const uint32_t present = static_cast<uint32_t>(row.head[1]);
    uint32_t* indices = reinterpret_cast<uint32_t*>(arena + indices_at);
    uint32_t* labels = reinterpret_cast<uint32_t*>(arena + labels_at);
    for (uint32_t i = threadIdx.x; i < batch; i += feed_threads) {
        const uint32_t sample = samples[i < present ? i : 0];
        indices[i] = sample;
        labels[i] = i < present ? feed.labels[sample] : 0;
    }
    const uint32_t i = threadIdx.x;
    if (i < 4) reinterpret_cast<uint32_t*>(arena + loss_at)[i] = reinterpret_cast<const uint32_t*>(row.head)[i];
    if (i < 4) reinterpret_cast<uint32_t*>(arena + loss_at)[4 + i] = reinterpret_cast<const uint32_t*>(row.random)[i];
    if (i < hyper_words)
        reinterpret_cast<uint32_t*>(arena + hyper_at)[i] = reinterpret_cast<const uint32_t*>(row.hyper)[i];
    block_barrier();  // everyone has read the step
    if (i == 0) *feed.step = step + 1;
}

// Behind the last step of a chunk.
__global__ void step_keep(Feed feed, const uint32_t* losses, uint32_t result_words)
{
    keep_results(feed, losses, *feed.step, result_words);
}

namespace host {

constexpr uint64_t chunk_nanoseconds = 30000000;  // two are under way: a signal is heeded after 60 ms
constexpr int most_graph_nodes = 512, most_graph_steps = 32;

// A graph of one step, and one of several.
struct StepGraphs {
    cudaGraphExec_t one, several;
    uint64_t n_several;
};

struct Chunk {
    uint64_t end;  // steps of the phase done with it
    cudaEvent_t finished;
};

struct Steps {
    Feed feed;
    uint32_t *order, *step;            // on the device
    StepRow* rows;
    uint32_t* host_order;              // page-locked, as are step_rows and step_results
    uint64_t most_steps;               // of a phase
    StepGraphs graphs[2];              // without and with learning
    Chunk chunks[2];                   // oldest first
    cudaEvent_t began;                 // the phase, with the copies before its first step
    int under_way;
    bool learns, is_resident;          // is_resident: one kernel trains
    uint64_t n_samples, n_steps, n_launched, n_finished, chunk_steps, since;
};

inline Steps steps;

inline uint32_t result_words()
{
    return static_cast<uint32_t>((runtime::model_preds - runtime::model_losses) / 4 + runtime::model_batch);
}

inline void launch_step(bool learns)
{
    using namespace runtime;
    LAUNCH(step_begin, GRID(1, 1, 1), feed_threads, 0, steps.feed, at(0), model_indices, model_labels, model_loss,
           model_losses, model_hyper, model_batch, model_element_bytes * 3 / 4, result_words());
    if (learns) {
        step_forward();
        step_learn();
    } else {
        step_evaluate();
    }
}

inline void launch_keep()
{
    LAUNCH(step_keep, GRID(1, 1, 1), feed_threads, 0, steps.feed, at(runtime::model_losses), result_words());
}

inline cudaGraphExec_t capture(bool learns, uint64_t n_steps, size_t* n_nodes)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    check(cudaStreamBeginCapture(device.stream, cudaStreamCaptureModeThreadLocal), "recording the step");
    for (uint64_t i = 0; i < n_steps; ++i) launch_step(learns);
    check(cudaStreamEndCapture(device.stream, &graph), "recording the step");
    check(cudaGraphGetNodes(graph, nullptr, n_nodes), "recording the step");
    check(cudaGraphInstantiateWithFlags(&exec, graph, 0), "making the graph of the step");
    check(cudaGraphDestroy(graph), "making the graph of the step");
    check(cudaGraphUpload(exec, device.stream), "making the graph of the step");
    return exec;
}

inline void make_graphs(bool learns)
{
    StepGraphs& graphs = steps.graphs[learns];
    size_t n_nodes = 0;
    graphs.one = capture(learns, 1, &n_nodes);
    const uint64_t fit = most_graph_nodes / n_nodes;
    graphs.n_several = fit < 2 ? 1 : fit > most_graph_steps ? most_graph_steps : fit;
    graphs.several = graphs.n_several > 1 ? capture(learns, graphs.n_several, &n_nodes) : graphs.one;
}

inline double seconds_between(cudaEvent_t began, cudaEvent_t finished)
{
    float milliseconds;
    check(cudaEventElapsedTime(&milliseconds, began, finished), "reading the device's clock");
    return milliseconds / 1e3;
}

// The next n steps, as graphs.
inline void launch_graphs(uint64_t n)
{
    const StepGraphs& graphs = steps.graphs[steps.learns];
    for (uint64_t i = 0; i < n / graphs.n_several; ++i)
        check(cudaGraphLaunch(graphs.several, device.stream), "launching steps");
    for (uint64_t i = 0; i < n % graphs.n_several; ++i)
        check(cudaGraphLaunch(graphs.one, device.stream), "launching a step");
    launch_keep();
}

// The next n steps, as one launch; it keeps its results itself.
inline void launch_resident(uint64_t n)
{
    step_resident(steps.feed, static_cast<uint32_t>(steps.n_launched), static_cast<uint32_t>(steps.n_launched + n),
                  static_cast<uint32_t>(steps.n_samples));
}

}  // namespace host

extern "C" {

StepRow* step_rows;
uint8_t* step_results;
uint64_t result_bytes;
double training_device_seconds;  // of the last phase that learned, by the device's clock: for the log

// Puts `n_steps` steps before the device, whose rows are written. The samples of step i are number first + i * batch
// and so on of the order, or, without one, of the split.
void phase_start(const runtime::Split* split, const uint32_t* order, uint64_t first, uint64_t end, uint64_t n_steps,
                 uint64_t learns)
{
    using namespace host;
    // The device has the images of both splits in one array.
    const uint64_t base = split == &runtime::test_split ? runtime::train_split.count : 0;
    const uint64_t most = n_steps * runtime::model_batch, samples = end - first < most ? end - first : most;
    for (uint64_t i = 0; i < samples; ++i) {
        steps.host_order[i] = static_cast<uint32_t>(base + (order ? order[first + i] : first + i));
    }
    check(cudaEventRecord(steps.began, device.stream), "copying the steps' numbers");
    const auto copy = [](void* target, const void* source, size_t bytes) {
        check(cudaMemcpyAsync(target, source, bytes, cudaMemcpyHostToDevice, device.stream),
              "copying the steps' numbers");
    };
    copy(steps.order, steps.host_order, samples * sizeof *steps.order);
    copy(steps.rows, step_rows, n_steps * sizeof *step_rows);
    check(cudaMemsetAsync(steps.step, 0, sizeof *steps.step, device.stream), "copying the steps' numbers");
    if (!steps.graphs[learns].one && !(learns && steps.is_resident)) make_graphs(learns);
    steps.n_samples = samples;
    steps.learns = learns;
    steps.n_steps = n_steps;
    steps.n_launched = steps.n_finished = 0;
    steps.since = runtime::clock_now();
}

// Waits for the oldest chunk, with another one behind it. Returns how many steps are done, and their results are in
// step_results; no more than before where all are, or where a signal came.
uint64_t phase_advance()
{
    using namespace host;
    while (steps.under_way < 2 && steps.n_launched < steps.n_steps && !runtime::signal_number) {
        const uint64_t left = steps.n_steps - steps.n_launched;
        const uint64_t n = steps.chunk_steps < left ? steps.chunk_steps : left;
        if (steps.learns && steps.is_resident)
            launch_resident(n);
        else
            launch_graphs(n);
        const size_t launched_bytes = steps.n_launched * result_bytes;
        check(cudaMemcpyAsync(step_results + launched_bytes,
                              reinterpret_cast<uint8_t*>(steps.feed.results) + launched_bytes, n * result_bytes,
                              cudaMemcpyDeviceToHost, device.stream),
              "copying the results");
        Chunk& chunk = steps.chunks[steps.under_way++];
        chunk.end = steps.n_launched += n;
        check(cudaEventRecord(chunk.finished, device.stream), "launching steps");
    }
    if (steps.under_way == 0) return steps.n_finished;
    const Chunk oldest = steps.chunks[0];
    check(cudaEventSynchronize(oldest.finished), steps.learns ? "training" : "testing");
    if (steps.learns) training_device_seconds = seconds_between(steps.began, oldest.finished);
    steps.chunks[0] = steps.chunks[1];
    steps.chunks[1] = oldest;
    --steps.under_way;
    const uint64_t now = runtime::clock_now(), spent = now - steps.since, done = oldest.end - steps.n_finished;
    if (done >= steps.chunk_steps) {  // not the rest of a phase, which says nothing about a longer chunk
        if (spent < chunk_nanoseconds / 2) steps.chunk_steps *= 2;
        if (spent > chunk_nanoseconds && steps.chunk_steps > 1) steps.chunk_steps /= 2;
    }
    steps.since = now;
    return steps.n_finished = oldest.end;
}

}  // extern "C"
