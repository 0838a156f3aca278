// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {Fixture} from "../kit/Fixture.sol";

/// @notice Bytes that no encoder writes.
contract EncodingsTest is Fixture {
    uint256 private sessionId;

    function setUp() public override {
        super.setUp();
        sessionId = start(100 * USD);
    }

    // ──────────────────────────────────────────── terms ──────────────────────────────────────────────

    /// @dev Whatever bytes are handed in, only those that were published settle anything.
    function testFuzz_TermsOfAnyBytes(bytes memory terms) external {
        ask(sessionId);
        refuseTerms(terms);
    }

    function testFuzz_TermsWithOneBitWrong(uint256 bit) external {
        (, bytes memory terms) = ask(sessionId);
        bit = bound(bit, 0, 8 * terms.length - 1);
        terms[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        refuseTerms(terms);
    }

    function test_TermsTooLongAndTooShort() external {
        (, bytes memory terms) = ask(sessionId);
        refuseTerms(abi.encodePacked(terms, bytes1(0)));
        refuseTerms(abi.encodePacked(terms, bytes32(0)));
        bytes memory shorter = new bytes(terms.length - 1);
        for (uint256 i = 0; i < shorter.length; i++) {
            shorter[i] = terms[i];
        }
        refuseTerms(shorter);
        respond(terms, success("ok"));
    }

    // ──────────────────────────────────────────── batches ────────────────────────────────────────────

    /// @dev Each request's offset lies in a word of its own; one that points elsewhere asks what lies there or nothing,
    /// and never takes what was not sent.
    function testFuzz_ABatchWithAWrongOffset(uint256 which, uint256 offset) external {
        uint256 n = 3;
        bytes memory data = batchCall(n);
        uint256 place = 4 + 96 + 32 * bound(which, 0, n - 1);
        uint256 wrong = offset % 3 == 0 ? offset : bound(offset, 0, data.length);
        assembly {
            mstore(add(add(data, 32), place), wrong)
        }
        send(data);
    }

    /// @dev All three at the same place: two have no bytes of their own, the last has its own.
    function test_ABatchWhoseRequestsAreOne() external {
        bytes memory data = batchCall(3);
        assembly {
            let head := add(data, 132)
            let last := mload(add(head, 64))
            mstore(head, last)
            mstore(add(head, 32), last)
        }
        (uint256 made, uint256 refused) = send(data);
        vm.assertEq(made, 1);
        vm.assertEq(refused, 2);
    }

    /// @dev In the order that no encoder writes: refused as a whole, and nothing is kept.
    function test_ABatchInReverse() external {
        bytes memory data = batchCall(3);
        assembly {
            let head := add(data, 132)
            let first := mload(head)
            mstore(head, mload(add(head, 64)))
            mstore(add(head, 64), first)
        }
        (uint256 made,) = send(data);
        vm.assertEq(made, 0);
    }

    function test_ABatchCutShort() external {
        bytes memory data = batchCall(3);
        for (uint256 cut = 32; cut < data.length; cut += 96) {
            bytes memory shorter = new bytes(data.length - cut);
            for (uint256 i = 0; i < shorter.length; i++) {
                shorter[i] = data[i];
            }
            send(shorter);
        }
    }

    // ─────────────────────────────────────────────── parts ───────────────────────────────────────────

    function refuseTerms(bytes memory terms) private {
        bytes memory answer = abi.encodeWithSignature(
            "respondToRequest(bytes,bytes32,(uint8,string,bytes))", terms, nodeIds[0], success("ok")
        );
        vm.prank(operators[0].addr);
        (bool done,) = address(ai).call(answer);
        vm.assertFalse(done);
        vm.warp(block.timestamp + 8 days);
        (done,) = address(ai).call(abi.encodeWithSignature("expire(bytes)", terms));
        vm.assertFalse(done);
        vm.warp(block.timestamp - 8 days);
    }

    function batchCall(uint256 n) private view returns (bytes memory) {
        IDtnAi.BatchRequest[] memory batch = new IDtnAi.BatchRequest[](n);
        for (uint256 i = 0; i < n; i++) {
            batch[i] = IDtnAi.BatchRequest({
                modelId: modelId(),
                routing: routing(IDtnAi.AggregationType.ANY, 1),
                request: question("?"),
                callback: callbackTo(address(0)),
                user: owner.addr,
                callbackGas: 0,
                callbackWei: 1 gwei,
                options: options()
            });
        }
        return abi.encodeCall(IDtnAi.requestBatch, (sessionId, batch));
    }

    /// @dev Sends a batch with the ETH for three; the books must say of it what its results say.
    function send(bytes memory data) private returns (uint256 made, uint256 refused) {
        (, uint256 available, uint256 heldBefore,) = ai.sessionOf(sessionId);
        uint256 etherBefore = address(ai).balance;
        vm.prank(owner.addr);
        (bool done, bytes memory result) = address(ai).call{value: 3 gwei}(data);
        if (done) {
            IDtnAi.BatchResult[] memory results = abi.decode(result, (IDtnAi.BatchResult[]));
            for (uint256 i = 0; i < results.length; i++) {
                if (results[i].requestId == 0) refused++;
                else made++;
            }
        }
        (, uint256 left, uint256 held,) = ai.sessionOf(sessionId);
        vm.assertEq(held - heldBefore, made * holdOf("?"));
        vm.assertEq(available - left, held - heldBefore);
        vm.assertEq(address(ai).balance - etherBefore, made * 1 gwei);
    }
}
