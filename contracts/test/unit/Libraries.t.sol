// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {DtnDefaults} from "@deeptrust/contracts/dtn-defaults.sol";
import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Ballots} from "../../src/libraries/Ballots.sol";
import {ResponseStore} from "../../src/libraries/ResponseStore.sol";
import {Routings} from "../../src/libraries/Routings.sol";
import {TermsCodec} from "../../src/libraries/TermsCodec.sol";
import {Test} from "../kit/Test.sol";

contract LibrariesTest is Test {
    function test_WhenAnyTermsAreEncodedAndDecoded(uint256[6] memory words, bytes32[] memory trusted, uint256 kind)
        external
        view
    {
        IDtnAiEvents.Terms memory terms = IDtnAiEvents.Terms({
            sessionId: words[0],
            slot: uint32(words[1]),
            serial: uint32(words[1] >> 32),
            deadline: uint64(words[1] >> 64),
            callbackGas: uint32(words[1] >> 128),
            redundancy: uint8(words[1] >> 160),
            quorum: uint8(words[1] >> 168),
            aggregationType: IDtnAi.AggregationType(bound(kind, 0, 4)),
            keepResponse: words[1] >> 255 == 1,
            callbackWei: uint96(words[2]),
            requestFee: uint96(words[3]),
            feePerByteRes: uint96(words[4]),
            totalFeePerRes: uint96(words[4] >> 96),
            user: address(uint160(words[2] >> 96)),
            callback: IDtnAi.CallBack(bytes4(uint32(words[3])), bytes4(uint32(words[4])), address(uint160(words[5]))),
            content: keccak256(abi.encode(words)),
            trusted: trusted
        });
        bytes memory encoded = TermsCodec.encode(terms);
        vm.assertEq(encoded.length, 192 + 32 * trusted.length);
        vm.assertEq(abi.encode(this.decode(encoded)), abi.encode(terms));
    }

    function test_WhenAnyResponseIsKeptAndRead(bytes32 id, string memory message, bytes memory response) external {
        address code = ResponseStore.keep(id, message, response);
        (bool found, string memory message_, bytes memory response_) = ResponseStore.read(code, id);
        vm.assertTrue(found);
        vm.assertEq(message_, message);
        vm.assertEq(response_, response);
        (found,,) = ResponseStore.read(code, id ^ bytes32(uint256(1 << 159)));
        vm.assertFalse(found);
    }

    function test_WhenAnyShareOfNodesIsAskedFor(uint256 n, uint256 confidence) external view {
        n = bound(n, 1, 7);
        confidence = bound(confidence, 0, 100);
        IDtnAi.DtnRouting memory routing;
        (routing.redundancy, routing.confidenceLevel) = (uint32(n), uint8(confidence));
        routing.aggregationType = IDtnAi.AggregationType.VOTE;
        uint256 quorum = this.quorumOf(routing);
        vm.assertTrue(2 * quorum > n && 100 * quorum >= confidence * n && quorum <= n);
        vm.assertTrue(2 * (quorum - 1) <= n || 100 * (quorum - 1) < confidence * n);
    }

    /// @dev Orders are made by swapping, so that all are well formed; points are counted here in the plain way.
    function test_WhenAnyOrdersAreCounted(uint256 size, uint256 seed) external view {
        uint256 n = bound(size, 1, 7);
        IDtnNodes.Ballot[] memory ballots = new IDtnNodes.Ballot[](n);
        uint256[] memory points = new uint256[](n);
        for (uint256 i = 0; i < n; i++) {
            uint256[] memory order = shuffled(n, uint256(keccak256(abi.encode(seed, i))));
            for (uint256 place = 0; place < n; place++) {
                ballots[i].preference |= order[place] << (4 * place);
                if (order[place] != i) points[order[place]] += n - 1 - place;
            }
        }
        uint256[] memory ranked = this.orderOf(ballots);
        uint256 seen;
        for (uint256 i = 0; i < n; i++) {
            seen |= 1 << ranked[i];
            if (i == 0) continue;
            (uint256 better, uint256 worse) = (ranked[i - 1], ranked[i]);
            vm.assertTrue(points[better] > points[worse] || (points[better] == points[worse] && better < worse));
        }
        vm.assertEq(seen, (1 << n) - 1);
    }

    function test_WhenTheDefaultTrustIsAskedFor() external pure {
        bytes32[] memory ids = DtnDefaults.defaultSystemTrust();
        vm.assertEq(ids.length, 1);
        vm.assertEq(ids[0], keccak256("system"));
        vm.assertEq(DtnDefaults.defaultRoutingSystemValidatedAny().trustNamespaceIds[0], ids[0]);
        vm.assertEq(DtnDefaults.singleArray(string("Why?"))[0], "Why?");
    }

    function test_WhenAllOfSomeNodesAreAskedFor() external pure {
        bytes32[] memory ids = new bytes32[](3);
        IDtnAi.DtnRouting memory routing = DtnDefaults.defaultCustomNodesValidatedAll(ids);
        vm.assertEq(routing.redundancy, 3);
        vm.assertEq(uint256(routing.aggregationType), uint256(IDtnAi.AggregationType.ALL));
        vm.assertEq(DtnDefaults.defaultCustomNodesValidatedAny(ids).redundancy, 1);
    }

    // ───────────────────────────────── calldata, which libraries ask for ─────────────────────────────

    function decode(bytes calldata encoded) external pure returns (IDtnAiEvents.Terms memory) {
        return TermsCodec.decode(encoded);
    }

    function quorumOf(IDtnAi.DtnRouting calldata routing) external pure returns (uint256) {
        return Routings.meaningOf(routing).quorum;
    }

    function orderOf(IDtnNodes.Ballot[] calldata ballots) external pure returns (uint256[] memory) {
        return Ballots.orderOf(ballots);
    }

    function shuffled(uint256 n, uint256 seed) private pure returns (uint256[] memory order) {
        order = new uint256[](n);
        for (uint256 i = 0; i < n; i++) {
            uint256 j = seed % (i + 1);
            seed /= 8;
            order[i] = order[j];
            order[j] = i;
        }
    }
}
